"""The pack in a real ComfyUI, through its HTTP interface."""

import io
import json
import re
import shutil
import urllib.request
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from cat_core.settings import CATSettings
from tools.build_workflows import GROWING, build, file_of
from tools.dev import DEFAULT
from tools.host import HOST, ROOT
from tools.recipes import RECIPES
from tools.server import WorkflowError, running_server
from tools.workflow import FOLDER, load_api

DEMO = FOLDER / "cat_pruning_demo.json"
GOLDEN = sorted((ROOT / "tests" / "golden").glob("*/*.json"))
"""Workflows as earlier versions saved them."""
WORKFLOWS = sorted(FOLDER.glob("*.json"))
SELF_CONTAINED = [path for path in WORKFLOWS if "CATPruningDemoLoader" in path.read_text(encoding="utf-8")]
"""Workflows that need no download."""
# steps in full of 28: what is repainted is refreshed more often, and what was tuned may compute half
FULL = {"cat_pruning_inpaint": 11, "cat_pruning_tune": 14}
MODEL_WORKFLOWS = [path for path in WORKFLOWS if path not in SELF_CONTAINED]
BUILT = {file_of(recipe): recipe for recipe in RECIPES}
MODEL_FILES = {"ckpt_name", "unet_name", "vae_name", "text_encoder", "clip_name"}
MODEL_FILES |= {f"clip_name{number}" for number in range(1, 5)}
CATEGORY = "model/patch/CAT Pruning"
# inputs and their defaults by node, in the order of the widgets; None: a socket, or the first of the choices
INPUTS = {
    "CATPruning": {"model": None, "enabled": True, "preset": "automatic", "settings": None},
    "CATPruningSettings": {
        "keep_ratio": 0.75,
        "clusters": 20,
        "refresh_interval": 5,
        "pruned_interval": 2,
        "warmup_steps": 0,
        "cluster_share": 0.25,
        "staleness_decay": 0.5,
        "position_weight": 1.0,
        "final_full_steps": 2,
        "forecast": 0.7,
        "correction": 1.0,
        "propagation": 1.0,
        "cache_dtype": "model",
        "cache_device": "model",
        "seed": 0,
        "full_steps": "",
        "focus_mask": None,
    },
    "CATPruningReport": {"model": None, "latent": None},
    "CATPruningCompare": {"reference": None, "image": None},
    "CATPruningTune": {
        "latent_image": None,
        "seed": 0,
        "seeds": 2,
        "steps": 28,
        "cfg": 4.0,
        "sampler_name": None,
        "scheduler": None,
        "denoise": 1.0,
        "aim": None,
        "cost": 0.5,
        "likeness": 35.0,
        "budget": 12,
        "model": None,
        "positive": None,
        "negative": None,
        "guider": None,
        "sampler": None,
        "sigmas": None,
        "noise": None,
        "vae": None,
    },
    "CATPruningDemoLoader": {"variant": "base"},
}
OUTPUTS = {
    "CATPruning": ["MODEL"],
    "CATPruningSettings": ["CAT_SETTINGS"],
    "CATPruningReport": ["LATENT", "STRING", "IMAGE"],
    "CATPruningCompare": ["STRING", "IMAGE"],
    "CATPruningTune": ["CAT_SETTINGS", "IMAGE", "STRING", "IMAGE"],
    "CATPruningDemoLoader": ["MODEL", "CLIP", "VAE"],
}
BASIC = {"keep_ratio", "refresh_interval", "pruned_interval", "warmup_steps", "focus_mask"}


@pytest.fixture(scope="module")
def server():
    linked = [path.resolve() for path in (HOST / "custom_nodes").iterdir()]
    assert ROOT in linked, f"this pack is not linked into {HOST}: run `make setup`"
    with running_server() as running:
        # what every new ComfyUI has in its input folder
        shutil.copy(HOST / "input" / "example.png", running.log.parent / "input")
        yield running


@pytest.fixture(scope="module")
def info(server):
    return server.get("/object_info")


@pytest.fixture
def demo(info):
    """The demo workflow, small: 2 full and 4 pruned steps of a 128 x 128 picture."""
    prompt = load_api(DEMO, info)
    change(prompt, "KSampler", steps=6)
    change(prompt, "EmptySD3LatentImage", width=256, height=256)
    knobs = {"keep_ratio": 0.3, "refresh_interval": 0, "pruned_interval": 1, "warmup_steps": 2, "final_full_steps": 0}
    change(prompt, "CATPruningSettings", **knobs)
    return prompt


def change(prompt, kind, **inputs):
    for node in prompt.values():
        if node["class_type"] == kind:
            node["inputs"].update(inputs)


def number_of(prompt, **inputs):
    """Number of the one node that has these inputs."""
    (number,) = [n for n, node in prompt.items() if inputs.items() <= node["inputs"].items()]
    return number


def pictures(server, prompt, outputs, prefix):
    described = outputs[number_of(prompt, filename_prefix=prefix)]["images"]
    return [np.asarray(Image.open(io.BytesIO(server.image(one)))) for one in described]


def reports(outputs):
    return [output["report"][0] for output in outputs.values() if "report" in output]


def steps_of(outputs):
    (report,) = reports(outputs)
    assert report["finished"]
    return report["steps"]


def all_inputs(node):
    return {**node["input"].get("required", {}), **node["input"].get("optional", {})}


def kind_of(node, name):
    """Type of an input; of one that grows with its links, of what each brings."""
    name, _, grown = name.partition(".")
    kind, *options = all_inputs(node)[name]
    return next(iter(options[0]["template"]["input"]["required"].values()))[0] if grown else kind


def default_of(kind, options=None):
    return (options or {}).get("default")


@pytest.fixture
def prompt(info, path):
    """A workflow's file as it is queued; a host that does not have its model skips it."""
    if path in BUILT and not BUILT[path].known_to(info):
        pytest.skip(f"this host is without {BUILT[path].since}")
    return load_api(path, info)


def test_the_host_loads_exactly_the_packs_nodes_into_its_category(info):
    ours = {name for name, node in info.items() if node["python_module"] == "custom_nodes.cat-pruning"}
    assert ours == set(INPUTS)
    assert {info[name]["category"] for name in ours} == {CATEGORY}


@pytest.mark.parametrize("name", INPUTS)
def test_inputs_defaults_and_outputs_are_the_stable_ones(info, name):
    found = all_inputs(info[name])
    assert list(found) == list(INPUTS[name])
    assert {key: default_of(*spec) for key, spec in found.items()} == INPUTS[name]
    assert info[name]["output"] == OUTPUTS[name]


def test_settings_and_the_mask_need_no_connection(info):
    assert list(info["CATPruning"]["input"]["optional"]) == ["settings"]
    assert list(info["CATPruningSettings"]["input"]["optional"]) == ["full_steps", "focus_mask"]
    assert all(info[name]["output_node"] for name in ("CATPruningReport", "CATPruningTune"))


@pytest.mark.parametrize("name", ["CATPruningSettings", "CATPruningTune"])
def test_the_front_end_does_not_change_a_seed_after_a_run(info, name):
    (_, options) = all_inputs(info[name])["seed"]
    # left out, an input of that name is changed after every run
    assert options["control_after_generate"] is False


def test_rare_knobs_are_advanced(info):
    knobs = all_inputs(info["CATPruningSettings"])
    assert {name for name, (_, options) in knobs.items() if not options.get("advanced")} == BASIC


@pytest.mark.parametrize("name", INPUTS)
def test_every_input_and_output_has_a_tooltip(info, name):
    silent = [key for key, (_, options) in all_inputs(info[name]).items() if not options.get("tooltip")]
    assert silent == []
    assert all(info[name]["output_tooltips"])
    assert info[name]["description"]


@pytest.mark.parametrize("name", INPUTS)
def test_every_node_has_a_help_page(server, name):
    page = server.get(f"/extensions/cat-pruning/docs/{name}.md").decode()
    assert all(f"**{key}**" in page or f"`{key}`" in page for key in INPUTS[name])
    pictures = re.findall(r"!\[.+\]\((.+)\)", page)
    assert pictures
    assert all(server.get(f"/extensions/cat-pruning/docs/{picture}") for picture in pictures)


def test_the_template_browser_lists_the_workflows_with_their_pictures(server):
    assert sorted(server.get("/workflow_templates")["cat-pruning"]) == [path.stem for path in WORKFLOWS]
    # the host serves the first of several folders that it takes for one of workflows, "examples" among them
    for path in WORKFLOWS:
        for file in (path, path.with_suffix(".jpg")):
            with urllib.request.urlopen(f"{server.url}/api/workflow_templates/cat-pruning/{file.name}") as answer:
                assert answer.read() == file.read_bytes()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_names_only_inputs_that_exist_and_every_required_one(info, prompt):
    for node in prompt.values():
        known = info[node["class_type"]]
        required = {name for name, (kind, *_) in known["input"].get("required", {}).items() if kind != GROWING}
        assert {name.partition(".")[0] for name in node["inputs"]} <= set(all_inputs(known))
        assert required <= set(node["inputs"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_connects_outputs_to_inputs_of_their_type(info, prompt):
    for node in prompt.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list):
                wanted = kind_of(info[node["class_type"]], name)
                given = info[prompt[value[0]]["class_type"]]["output"][value[1]]
                assert wanted in (given, "*")


@pytest.mark.parametrize("path", MODEL_WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_lacks_only_its_model_files_and_says_where_they_are(server, path, prompt):
    with pytest.raises(WorkflowError) as refusal:
        server.queue(prompt)
    errors = [e for node in json.loads(str(refusal.value))["node_errors"].values() for e in node["errors"]]
    assert {e["type"] for e in errors} == {"value_not_in_list"}
    assert {e["extra_info"]["input_name"] for e in errors} <= MODEL_FILES
    # from the prompt: this host does not check the choices of V3 loaders
    files = {value for node in prompt.values() for name, value in node["inputs"].items() if name in MODEL_FILES}
    nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
    links = [link for node in nodes for link in node["properties"].get("models", [])]
    assert {link["name"] for link in links} == files
    assert all(link["url"].startswith("https://") and link["url"].endswith(link["name"]) for link in links)


@pytest.mark.parametrize("path", MODEL_WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_takes_a_preset(prompt):
    patches = [node["inputs"] for node in prompt.values() if node["class_type"] == "CATPruning"]
    assert {values["preset"] for values in patches} <= {"automatic", "balanced", "quality"}
    assert patches
    assert not any("settings" in values for values in patches)


@pytest.mark.parametrize("path", MODEL_WORKFLOWS, ids=lambda path: path.stem)
def test_every_run_of_a_workflow_has_a_patched_model_and_a_report(prompt):
    kinds = Counter(node["class_type"] for node in prompt.values())
    runs = sum(kinds[kind] for kind in ("KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced"))
    assert kinds["CATPruning"] == kinds["CATPruningReport"] == runs


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_workflow_is_what_its_recipe_builds(server, info, recipe):
    if server.get("/system_stats")["system"]["comfyui_version"] != DEFAULT:
        pytest.skip("what a node shows is asked from the default host")
    assert recipe.known_to(info)
    assert file_of(recipe).read_text(encoding="utf-8") == build(recipe, info), "run: make workflows"


@pytest.mark.parametrize("path", SELF_CONTAINED, ids=lambda path: path.stem)
def test_a_workflow_without_downloads_runs_and_leaves_steps_out(server, path, prompt):
    outputs = server.run(prompt)
    for report in reports(outputs):
        assert report["finished"]
        assert report["reasons"] == []
        assert report["steps"]["full"] == FULL.get(path.stem, 10)
    assert reports(outputs)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_workflows_of_earlier_versions_still_load(info, path):
    prompt = load_api(path, info)
    for node in prompt.values():
        known = info[node["class_type"]]
        assert set(known["input"].get("required", {})) <= set(node["inputs"]) <= set(all_inputs(known))


def test_a_prompt_of_an_earlier_version_runs(server, demo):
    """Queued by a program, it has no knob that has been added since; the front end gives those their defaults."""
    (knobs,) = [node["inputs"] for node in demo.values() if node["class_type"] == "CATPruningSettings"]
    del knobs["full_steps"]
    assert steps_of(server.run(demo)) == {"full": 2, "pruned": 4, "idle": 0, "skipped": 0}


@pytest.mark.parametrize("path", [path for path in GOLDEN if path.name != DEMO.name], ids=lambda path: path.stem)
def test_workflows_of_earlier_versions_lack_only_their_model_files(server, info, path):
    with pytest.raises(WorkflowError) as refusal:
        server.queue(load_api(path, info))
    errors = [e for node in json.loads(str(refusal.value))["node_errors"].values() for e in node["errors"]]
    assert {e["extra_info"]["input_name"] for e in errors} <= MODEL_FILES


@pytest.mark.parametrize("path", [path for path in GOLDEN if path.name == DEMO.name], ids=lambda path: path.parent.name)
def test_the_demo_workflow_of_earlier_versions_gives_todays_pictures(server, info, path):
    made = []
    for workflow in (path, DEMO):
        prompt = load_api(workflow, info)
        change(prompt, "EmptySD3LatentImage", width=256, height=256)
        outputs = server.run(prompt)
        assert steps_of(outputs) == {"full": 10, "pruned": 5, "idle": 13, "skipped": 0}
        made.append([pictures(server, prompt, outputs, prefix) for prefix in ("baseline", "cat")])
    assert np.array_equal(*made)


def test_pictures_are_compared(server, demo):
    reference, image = (
        demo[number_of(demo, filename_prefix=prefix)]["inputs"]["images"] for prefix in ("baseline", "cat")
    )
    demo["100"] = {"class_type": "CATPruningCompare", "inputs": {"reference": reference, "image": image}}
    demo["101"] = {"class_type": "PreviewAny", "inputs": {"source": ["100", 0]}}
    demo["102"] = {"class_type": "CATPruningCompare", "inputs": {"reference": image, "image": image}}
    demo["103"] = {"class_type": "PreviewAny", "inputs": {"source": ["102", 0]}}
    outputs = server.run(demo)
    (baseline,), (cat,) = (pictures(server, demo, outputs, prefix) for prefix in ("baseline", "cat"))
    psnr = peak_signal_noise_ratio(baseline, cat)
    # saved pictures are rounded to 8 bits
    assert float(outputs["101"]["text"][0].split()[1]) == pytest.approx(psnr, abs=0.2)
    assert outputs["103"]["text"] == ["The pictures are equal."]
    (shown,) = outputs["100"]["images"]
    assert np.asarray(Image.open(io.BytesIO(server.image(shown)))).shape == baseline.shape


def test_the_demo_workflow_starts_from_the_defaults(info):
    prompt = load_api(DEMO, info)
    (values,) = [node["inputs"] for node in prompt.values() if node["class_type"] == "CATPruningSettings"]
    assert CATSettings(**values) == CATSettings()


def test_the_demo_workflow_prunes_and_reports_it(server, demo):
    outputs = server.run(demo)
    assert steps_of(outputs) == {"full": 2, "pruned": 4, "idle": 0, "skipped": 0}
    (baseline,), (cat,) = (pictures(server, demo, outputs, prefix) for prefix in ("baseline", "cat"))
    assert baseline.shape == cat.shape == (128, 128, 3)
    assert not np.array_equal(baseline, cat)
    (report,) = reports(outputs)
    assert report["reasons"] == []
    # 30 % of 16 x 16 tokens
    assert [step["computed"] for step in report["per_step"]] == [256] * 2 + [77] * 4
    (shown,) = [output for output in outputs.values() if "report" in output]
    assert "2 full, 4 pruned" in shown["text"][0]
    assert len(shown["images"]) == 1


def test_switched_off_the_picture_is_exactly_the_one_without_the_node(server, demo):
    change(demo, "CATPruning", enabled=False)
    outputs = server.run(demo)
    (baseline,), (cat,) = (pictures(server, demo, outputs, prefix) for prefix in ("baseline", "cat"))
    assert np.array_equal(baseline, cat)
    assert "does not carry CAT Pruning" in str(outputs)


def test_queued_again_with_another_seed_it_makes_another_picture(server, demo):
    made = []
    for seed in (1, 2):
        change(demo, "KSampler", seed=seed)
        outputs = server.run(demo)
        assert steps_of(outputs) == {"full": 2, "pruned": 4, "idle": 0, "skipped": 0}
        made += pictures(server, demo, outputs, "cat")
    assert not np.array_equal(*made)


def test_a_batch_gives_as_many_pictures(server, demo):
    change(demo, "EmptySD3LatentImage", batch_size=2)
    outputs = server.run(demo)
    assert steps_of(outputs)["pruned"] == 4
    assert not np.array_equal(*pictures(server, demo, outputs, "cat"))


def without_baseline(prompt):
    """Only what needs the node: the server would accept the other branch of a prompt with a bad value."""
    return {n: node for n, node in prompt.items() if node["inputs"].get("filename_prefix") != "baseline"}


@pytest.mark.parametrize(("knob", "value", "limit"), [("keep_ratio", 2, "max of 1"), ("clusters", 0, "min of 1")])
def test_a_value_out_of_range_is_refused_by_name(server, demo, knob, value, limit):
    change(demo, "CATPruningSettings", **{knob: value})
    with pytest.raises(WorkflowError) as refusal:
        server.queue(without_baseline(demo))
    nodes = json.loads(str(refusal.value))["node_errors"].values()
    (error,) = [e for node in nodes if node["class_type"] == "CATPruningSettings" for e in node["errors"]]
    assert error["details"] == knob
    assert limit in error["message"]


def test_a_choice_that_does_not_exist_stops_the_run_with_the_choices(server, demo):
    change(demo, "CATPruningSettings", cache_dtype="int3")
    # a newer host checks the choices of V3 nodes itself, on an older one the settings do
    with pytest.raises(WorkflowError, match=r"cache_dtype(: 'int3' not in \['| must be one of )model'?, '?float32"):
        server.run(without_baseline(demo))


def with_second_sampler(prompt, steps):
    """Add another sampler and report on the same patched model; return the two report nodes' numbers."""
    first = next(n for n, node in prompt.items() if node["class_type"] == "CATPruningReport")
    model, latent = prompt[first]["inputs"]["model"], prompt[first]["inputs"]["latent"]
    sampler = prompt[latent[0]]
    prompt["100"] = {**sampler, "inputs": {**sampler["inputs"], "steps": steps}}
    prompt["101"] = {"class_type": "CATPruningReport", "inputs": {"model": model, "latent": ["100", 0]}}
    return first, "101"


def test_two_samplers_on_one_model_each_report_their_own_run(server, demo):
    first, second = with_second_sampler(demo, steps=5)
    outputs = server.run(demo)
    assert outputs[first]["report"][0]["steps"]["pruned"] == 4
    assert outputs[second]["report"][0]["steps"]["pruned"] == 3
