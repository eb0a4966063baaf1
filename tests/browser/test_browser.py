"""The pack as a user meets it: ComfyUI's own front end in a real browser, classic nodes and "Nodes 2.0"."""

import json
import re
from urllib.parse import quote

import pytest

from tools.host import ROOT
from tools.workflow import FOLDER, load_api, to_api

WORKFLOWS = sorted(path.stem for path in FOLDER.glob("*.json"))
DEMO = FOLDER / "cat_pruning_demo.json"
COMPARE = FOLDER / "cat_pruning_compare.json"
COMPARED = ROOT / "subgraphs" / "Compare with and without CAT Pruning.json"
SUBGRAPH = ROOT / "subgraphs" / "KSampler with CAT Pruning.json"
TUNE = FOLDER / "cat_pruning_tune.json"
TUNED = ROOT / "subgraphs" / "Tune CAT Pruning.json"
GOLDEN = sorted((ROOT / "tests" / "golden").glob("*/*.json"))
"""Workflows as earlier versions saved them."""
IN_DEMO = {"CATPruning", "CATPruningSettings", "CATPruningReport", "CATPruningDemoLoader"}


def small(comfy):
    """A picture that takes a second."""
    comfy.set("EmptySD3LatentImage", width=256, height=256)


def steps(comfy):
    return comfy.output("CATPruningReport")["report"][0]["steps"]


def test_the_template_browser_shows_every_workflow_with_its_picture(comfy):
    comfy.browse_templates("cat-pruning")
    cards = comfy.page.get_by_test_id(re.compile("^template-workflow-"))
    cards.first.wait_for()
    while (shown := cards.count()) < len(WORKFLOWS):
        # further ones are drawn when the last one is reached
        cards.last.scroll_into_view_if_needed()
        cards.nth(shown).wait_for()
    for name in WORKFLOWS:
        card = comfy.page.get_by_test_id(f"template-workflow-{name}")
        card.scroll_into_view_if_needed()
        picture = card.locator("img").first
        picture.wait_for()
        # the front end's own stand-in for a missing one is of another size
        comfy.page.wait_for_function("picture => picture.naturalWidth == 512", arg=picture.element_handle())
    # the shown ones are drawn anew after scrolling
    cards.first.scroll_into_view_if_needed()
    # they fade in
    pictures = "[...document.querySelectorAll('[data-testid^=template-workflow-] img')]"
    shown = "picture => picture.naturalWidth > 0 && getComputedStyle(picture).opacity == 1"
    comfy.page.wait_for_function(f"{pictures}.slice(0, 8).filter({shown}).length == 8")
    comfy.photograph(f"templates_{comfy.look}")


def test_the_front_end_reads_every_workflow_as_the_tests_do(comfy):
    info = comfy.server.get("/object_info")
    for path in [*(FOLDER / f"{name}.json" for name in WORKFLOWS), *GOLDEN]:
        comfy.open_file(path)
        kinds = set(comfy.page.evaluate("app.graph.nodes.map(node => node.type)"))
        assert kinds <= set(comfy.page.evaluate("Object.keys(LiteGraph.registered_node_types)"))
        prompt = comfy.page.evaluate("async () => (await app.graphToPrompt()).output")
        sent = {number: {"class_type": node["class_type"], "inputs": node["inputs"]} for number, node in prompt.items()}
        assert sent == load_api(path, info)


def test_the_demo_runs_from_the_template_browser_and_shows_what_it_did(comfy):
    comfy.open_template("cat-pruning", "cat_pruning_demo")
    comfy.run()
    comfy.look_at_all()
    told = comfy.shown_text("CATPruning")
    assert re.fullmatch(r"2\.03x fewer MACs, 18 of 28 steps pruned or idle, \d+\.\d s saved", told), told
    assert "10 full, 5 pruned, 13 idle" in comfy.shown_text("CATPruningReport")
    savers = comfy.page.evaluate("app.graph.nodes.filter(n => n.type == 'SaveImage').map(n => n.id)")
    for number in [*savers, comfy.number("CATPruningReport")]:
        comfy.wait_for_picture(number)
    comfy.photograph(f"demo_{comfy.look}")


def test_pictures_are_compared_on_the_node(comfy):
    comfy.open_file(COMPARE)
    comfy.run()
    comfy.look_at_all()
    assert comfy.shown_text("CATPruningCompare").startswith("PSNR ")
    comfy.wait_for_picture(comfy.number("CATPruningCompare"))
    comfy.photograph(f"compare_{comfy.look}")


def test_the_search_box_finds_the_node_and_puts_it_into_the_workflow(comfy):
    options = "[...document.querySelectorAll('[role=option]')].map(option => option.innerText)"
    for word in ("cat", "prune", "token", "cache", "speed", "faster", "skip steps"):
        comfy.search(word)
        # behind the host's own nodes that are called caches
        first = comfy.page.evaluate(options)[: 5 if word == "cache" else 4]
        assert any(option.startswith("CAT Pruning") for option in first), (word, first)
    comfy.photograph(f"search_{comfy.look}")
    comfy.search("autotune")
    assert any(option.startswith("CAT Pruning Tune") for option in comfy.page.evaluate(options)[:4])
    comfy.search("skip steps")
    comfy.add("CAT Pruning", 150, 500)
    comfy.page.wait_for_function("app.graph.nodes.some(node => node.type == 'CATPruning')")


PUT_IN_PLACE = """() => {
    const all = app.graph.nodes, of = kind => all.filter(node => node.type == kind);
    const replaced = ["KSampler", "CATPruning", "CATPruningSettings", "CATPruningReport"];
    all.filter(node => replaced.includes(node.type)).forEach(node => app.graph.remove(node));
    const [loader] = of("CATPruningDemoLoader"), [positive, negative] = of("CLIPTextEncode");
    const [latent] = of("EmptySD3LatentImage"), [decoder, other] = of("VAEDecode");
    const sampler = all.find(node => node.subgraph);
    [loader, positive, negative, latent].forEach((node, slot) => node.connect(0, sampler, slot));
    sampler.connect(0, decoder, 0);
    app.graph.remove(other);
    return sampler.widgets.length;
}"""


def test_the_subgraph_is_found_and_runs(comfy):
    comfy.open_file(DEMO)
    small(comfy)
    comfy.search("KSampler with CAT")
    comfy.page.get_by_role("option").filter(has_text=SUBGRAPH.stem).click()
    comfy.page.wait_for_function("app.graph.nodes.some(node => node.subgraph)")
    # preset, seed, steps, cfg, sampler, scheduler, denoise
    assert comfy.page.evaluate(PUT_IN_PLACE) == 7
    comfy.run()
    outputs = comfy.page.evaluate("app.nodeOutputs").values()
    (text,) = [output["text"][0] for output in outputs if "report" in output]
    assert "10 full, 5 pruned, 13 idle" in text


WITHOUT_THE_PACK = """() => {
    const of = kind => app.graph.nodes.filter(node => node.type == kind);
    const pack = app.graph.nodes.filter(node => /^CATPruning($|Settings|Report)/.test(node.type));
    const second = ["KSampler", "VAEDecode", "SaveImage"].flatMap(kind => of(kind).slice(1));
    [...pack, ...second].forEach(node => app.graph.remove(node));
}"""
CONNECT_SUBGRAPH = """() => {
    const of = kind => app.graph.nodes.filter(node => node.type == kind);
    const added = app.graph.nodes.find(node => node.subgraph);
    const slot = name => added.inputs.findIndex(input => input.name == name);
    const [positive, negative] = of("CLIPTextEncode"), [latent_image] = of("EmptySD3LatentImage");
    const [loader] = of("CATPruningDemoLoader"), [model] = [...of("CATPruning"), loader];
    const sources = {model, positive, negative, latent_image};
    for (const [name, node] of Object.entries(sources)) node.connect(0, added, slot(name));
    loader.connect(2, added, slot("vae"));
    return added.id;
}"""


def run_with_the_node_put_in(comfy, steps):
    """A graph without the pack gets its node, between the model and the sampler."""
    comfy.open_file(DEMO)
    small(comfy)
    comfy.page.evaluate(WITHOUT_THE_PACK)
    comfy.set("KSampler", steps=steps)
    comfy.look_at("CATPruningDemoLoader", scale=0.6)
    comfy.search("faster")
    comfy.add("CAT Pruning", 150, 500)
    comfy.link("CATPruningDemoLoader", 0, "CATPruning", 0)
    comfy.link("CATPruning", 0, "KSampler", 0)
    comfy.run()


@pytest.mark.sharp
def test_a_first_time_user_finds_the_node_sees_what_it_saved_and_compares(comfy):
    run_with_the_node_put_in(comfy, steps=28)
    saved = r"2\.02x fewer MACs, 18 of 28 steps pruned or idle(, \d+\.\d s saved)?"
    assert re.fullmatch(saved, comfy.shown_text("CATPruning"))
    comfy.search("compare with")
    comfy.add(COMPARED.stem, 700, 600)
    number = comfy.page.evaluate(CONNECT_SUBGRAPH)
    comfy.run()
    off = "Without: Off: the model samples as without this node."
    compared = r"CAT Pruning Compare: PSNR \d+\.\d dB, SSIM 0\.9\d+"
    assert re.fullmatch(f"{off}\nWith: {saved}\n{compared}", comfy.lines_of(number))
    comfy.photograph(f"first_{comfy.look}")


def test_a_first_time_user_sees_why_nothing_was_saved(comfy):
    run_with_the_node_put_in(comfy, steps=4)
    first, why = comfy.shown_text("CATPruning").splitlines()
    assert first == "Nothing was pruned"
    assert why.startswith("In full: its 4 steps are too few to leave any out")


def test_tuning_shows_how_far_it_is_and_then_what_it_found(comfy):
    comfy.open_file(TUNE)
    comfy.set("CATPruningTune", seeds=1, budget=6)
    comfy.look_at_all()
    number = comfy.number("CATPruningTune")
    comfy.listen(number)
    comfy.start()
    comfy.said("Best so far: ")
    # charts of runs take each other's place
    comfy.wait_for_picture(number)
    first = comfy.output("CATPruningTune")["images"]
    *progress, text = comfy.said("Kept for preset tuned.")
    runs = [int(line.split(" of 6 runs")[0]) for line in progress]
    assert runs == sorted(set(runs))
    assert len(runs) > 2
    full = r"In full: 28 steps in \d+\.\d s\. Likeness to that is of pictures\."
    best = r"Chosen: 50% computed in \d+\.\d s, \d\d\.\d dB\.\nIts knobs: .+ full_steps 0-.+\."
    assert re.fullmatch(rf"{full}\n{best}\n\d+ steps without CAT Pruning: .+\nKept for preset tuned\.", text), text
    comfy.finish()
    # the sampler has used it
    assert steps(comfy)["full"] == 14
    assert comfy.output("CATPruningTune")["images"] != first
    for kind in ("CATPruningTune", "PreviewImage", "SaveImage"):
        comfy.wait_for_picture(comfy.number(kind))
    comfy.photograph(f"tune_{comfy.look}")


def test_tuning_that_is_interrupted_says_what_it_found(comfy):
    comfy.open_file(DEMO)
    small(comfy)
    comfy.page.evaluate(WITHOUT_THE_PACK)
    comfy.look_at("CATPruningDemoLoader", scale=0.6)
    comfy.search("tune cat")
    comfy.add(TUNED.stem, 700, 500)
    number = comfy.page.evaluate(CONNECT_SUBGRAPH)
    comfy.listen(number)
    comfy.start()
    comfy.said("Best so far: ")
    comfy.interrupt()
    *progress, text = comfy.said("Interrupted. ")
    assert text.startswith("CAT Pruning Tune: Interrupted. In full: 28 steps in ")
    assert re.search(r"\nChosen: \d\d% computed .+\nKept for preset tuned\.$", text, re.DOTALL), text
    assert len(progress) < 12


def test_a_knob_changed_by_hand_changes_the_run(comfy):
    comfy.open_file(DEMO)
    small(comfy)
    comfy.look_at("CATPruningSettings")
    comfy.type_number("CATPruningSettings", "pruned_interval", 1)
    comfy.run()
    assert steps(comfy) == {"full": 10, "pruned": 18, "idle": 0, "skipped": 0}


def test_a_bad_value_gets_the_hosts_own_error_by_name(comfy):
    comfy.open_file(DEMO)
    comfy.set("CATPruningSettings", keep_ratio=2)
    # with a branch that is right the host runs that one and marks the other
    baseline = "app.graph.nodes.filter(node => node.title == 'Without CAT Pruning')"
    comfy.page.evaluate(f"{baseline}.forEach(node => app.graph.remove(node))")
    comfy.page.get_by_test_id("queue-button").click()
    message = comfy.page.get_by_test_id("error-overlay-messages")
    message.get_by_text("CAT Pruning Settings's keep_ratio is above the maximum 1").wait_for()
    comfy.photograph(f"bad_value_{comfy.look}")


def test_a_saved_picture_brings_its_workflow_back(comfy):
    comfy.open_file(DEMO)
    small(comfy)
    comfy.set("CATPruningSettings", clusters=7)
    comfy.run()
    outputs = comfy.page.evaluate("app.nodeOutputs")
    (described,) = [
        image for output in outputs.values() for image in output["images"] if image["filename"].startswith("cat_")
    ]
    picture = comfy.server.image(described)
    comfy.page.evaluate("app.graph.clear()")
    comfy.drop(picture, "cat.png", "image/png")
    comfy.page.wait_for_function("app.graph.nodes.some(node => node.type == 'CATPruningSettings')")
    number = comfy.number("CATPruningSettings")
    assert comfy.page.evaluate("number => app.graph.getNodeById(number).widgets[1].value", number) == 7


def test_a_workflow_is_saved_after_a_run_as_it_was_and_opened_from_the_list(comfy):
    info, name = comfy.server.get("/object_info"), f"saved {comfy.look}"
    comfy.open_file(DEMO)
    small(comfy)
    comfy.run()
    comfy.shown_text("CATPruning")
    comfy.save(name)
    saved = comfy.server.get(f"/userdata/{quote(f'workflows/{name}.json', safe='')}")
    expected = load_api(DEMO, info)
    (size,) = [node["inputs"] for node in expected.values() if node["class_type"] == "EmptySD3LatentImage"]
    size.update(width=256, height=256)
    # the lines on nodes are not in the file
    assert to_api(saved, info) == expected
    comfy.reload()
    comfy.page.get_by_test_id("workflows-tab-button").click()
    comfy.page.get_by_role("treeitem").filter(has_text=name).last.click()
    comfy.page.wait_for_function("app.graph.nodes.some(node => node.type == 'CATPruningReport')")


def test_nodes_speak_the_users_language(comfy):
    comfy.server.post("/settings", **{"Comfy.Locale": "fr"})
    try:
        comfy.reload()
        comfy.open_file(DEMO)
        comfy.look_at("CATPruningSettings", scale=0.9)
        comfy.photograph(f"french_{comfy.look}")
        french = json.loads((ROOT / "locales" / "fr" / "nodeDefs.json").read_text(encoding="utf-8"))
        for kind in ("CATPruningSettings", "CATPruningReport"):
            title = comfy.page.evaluate("number => app.graph.getNodeById(number).title", comfy.number(kind))
            assert title == french[kind]["display_name"]
        knobs = comfy.page.evaluate(
            "number => app.graph.getNodeById(number).widgets.map(widget => widget.label)",
            comfy.number("CATPruningSettings"),
        )
        assert french["CATPruningSettings"]["inputs"]["keep_ratio"]["name"] in knobs
        comfy.select("CATPruningReport")
        comfy.page.get_by_test_id("info-button").click()
        title = french["CATPruningReport"]["display_name"]
        comfy.page.locator(".node-help-content").get_by_role("heading", name=title, exact=True).wait_for()
    finally:
        comfy.server.post("/settings", **{"Comfy.Locale": "en"})


def test_help_opens_beside_the_canvas_with_its_pictures(comfy):
    comfy.open_file(DEMO)
    panel = comfy.page.get_by_test_id("properties-panel").locator(".node-help-content")
    for kind in sorted(IN_DEMO):
        comfy.select(kind)
        if not panel.count():
            comfy.page.get_by_test_id("info-button").click()
        page = (ROOT / "web" / "docs" / f"{kind}.md").read_text(encoding="utf-8")
        panel.get_by_role("heading", name=page.splitlines()[0].lstrip("# "), exact=True).wait_for()
        picture = panel.locator("img").first
        picture.wait_for()
        comfy.page.wait_for_function("picture => picture.naturalWidth > 0", arg=picture.element_handle())
    comfy.photograph(f"help_{comfy.look}")
