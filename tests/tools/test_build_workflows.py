"""Links of built workflows follow from types and names, and what a recipe cannot mean is refused."""

import json
from itertools import combinations

import pytest

from tools.build_workflows import build, file_of
from tools.host import ROOT
from tools.recipes import RECIPES
from tools.recipes.parts import Node, Recipe, Run, ksampler, prompts, unet
from tools.workflow import FOLDER, to_api

MODEL, CONDITIONING, LATENT, IMAGE = ([kind] for kind in ("MODEL", "CONDITIONING", "LATENT", "IMAGE"))
TEXT, NUMBER, CHOICE = (["STRING", {"default": ""}], ["INT", {"default": 8}], [["a", "b"]])
SEED = ["INT", {"default": 0, "control_after_generate": True}]


def described(required, outputs=(), names=None, **optional):
    given = {"required": required, "optional": optional} if optional else {"required": required}
    return {"input": given, "output": list(outputs), "output_name": list(names or outputs)}


INFO = {
    "UNETLoader": described({"unet_name": [[]], "weight_dtype": CHOICE}, MODEL),
    "CLIPTextEncode": described({"text": TEXT}, CONDITIONING),
    "Size": described({}, ["INT", "INT", "LATENT"], ["width", "height", "LATENT"]),
    "Join": described({"positive": CONDITIONING, "negative": CONDITIONING}, CONDITIONING * 2, ["positive", "negative"]),
    "Patch": described({"model": MODEL, "strength": NUMBER}, MODEL, later=["INT", {"default": 3}]),
    "CATPruning": described({"model": MODEL, "preset": CHOICE}, MODEL, settings=["CAT_SETTINGS"]),
    "KSampler": described(
        {"model": MODEL, "positive": CONDITIONING, "negative": CONDITIONING, "latent_image": LATENT}
        | {"seed": SEED, "steps": NUMBER, "cfg": ["FLOAT"], "sampler_name": CHOICE, "scheduler": CHOICE},
        LATENT,
    ),
    "CATPruningReport": described({"model": MODEL, "latent": LATENT}, ["LATENT", "STRING"]),
    "VAEDecode": described({"samples": LATENT}, IMAGE),
    "SaveImage": described({"images": IMAGE, "filename_prefix": TEXT}),
}


def recipe(*prompt, patches=()):
    load = (unet("owner/models:folder/model.safetensors"),)
    runs = (Run(patches, ksampler(8, 1.0, "a", "b")),)
    return Recipe("x", "X", "template", "It saves.", load, (*prompts("yes"), Node("Size"), *prompt), runs)


def built(made):
    """The API-format prompt's nodes by kind; of several, the last."""
    return {node["class_type"]: node["inputs"] for node in to_api(json.loads(build(made, INFO)), INFO).values()}


def test_a_socket_takes_the_newest_output_of_its_type():
    nodes = built(recipe(patches=(Node("Patch"), Node("Patch", {"strength": 1}))))
    assert nodes["Patch"] == {"model": ["5", 0], "strength": 1, "later": 3}
    assert nodes["CATPruning"]["model"] == ["6", 0]
    assert nodes["KSampler"]["model"] == nodes["CATPruningReport"]["model"] == ["7", 0]
    assert (nodes["CATPruningReport"]["latent"], nodes["VAEDecode"]["samples"]) == (["8", 0], ["9", 0])


def test_a_socket_takes_an_output_of_its_name_before_one_of_its_type():
    nodes = built(recipe(Node("Join")))
    assert (nodes["Join"]["positive"], nodes["Join"]["negative"]) == (["2", 0], ["3", 0])
    assert (nodes["KSampler"]["positive"], nodes["KSampler"]["negative"]) == (["5", 0], ["5", 1])


def test_a_recipe_can_name_what_an_input_takes():
    made = recipe(patches=(Node("Patch", takes={"strength": "height"}),))
    assert built(made)["Patch"]["strength"] == ["4", 1]


def test_what_may_stay_open_stays_open():
    assert "settings" not in built(recipe())["CATPruning"]


def test_a_widget_that_hosts_have_added_since_is_left_to_its_default():
    (patch,) = [n for n in json.loads(build(recipe(patches=(Node("Patch"),)), INFO))["nodes"] if n["type"] == "Patch"]
    assert patch["widgets_values"] == [8]


def test_the_note_says_what_to_expect_and_where_files_are():
    *_, note = json.loads(build(recipe(), INFO))["nodes"]
    (text,) = note["widgets_values"]
    assert "It saves." in text
    assert "`models/diffusion_models`: [model.safetensors](https://" in text
    assert "/owner/models/resolve/main/folder/model.safetensors)" in text


def test_links_and_sockets_name_each_other():
    workflow = json.loads(build(recipe(Node("Join"), patches=(Node("Patch"),)), INFO))
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for number, source, output, target, slot, kind in workflow["links"]:
        assert number in nodes[source]["outputs"][output]["links"]
        assert nodes[target]["inputs"][slot]["link"] == number
        assert nodes[source]["outputs"][output]["type"] == kind


def test_an_input_that_a_node_does_not_have_is_named():
    with pytest.raises(ValueError, match="Patch has no input strenght"):
        build(recipe(patches=(Node("Patch", {"strenght": 1}),)), INFO)


def test_what_no_node_gives_is_named():
    with pytest.raises(ValueError, match="No node before Patch gives CLIP_VISION"):
        build(recipe(patches=(Node("Patch", takes={"model": "CLIP_VISION"}),)), INFO)


@pytest.mark.parametrize(
    ("since", "known"), [("", True), ("Join", True), ("Join c", False), ("KSampler a", True), ("Other", False)]
)
def test_a_host_knows_a_recipe_by_a_node_or_its_choice(since, known):
    one = recipe()
    assert Recipe(one.name, one.title, "", "", (), (), (), since=since).known_to(INFO) == known


def test_every_recipe_has_a_name_of_its_own_and_both_files():
    files = [file_of(one) for one in RECIPES]
    assert len(set(files)) == len(files)
    assert [file.name for file in files if not (file.is_file() and file.with_suffix(".jpg").is_file())] == []


def overlap(one, other):
    return all(one["pos"][d] < other["pos"][d] + other["size"][d] for d in (0, 1))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_no_node_lies_on_another(path):
    nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
    pairs = [(a["id"], b["id"]) for a, b in combinations(nodes, 2) if overlap(a, b) and overlap(b, a)]
    assert pairs == []


def test_the_page_of_workflows_names_each():
    page = (ROOT / "docs" / "workflows.md").read_text(encoding="utf-8")
    missing = [path.stem for path in FOLDER.glob("*.json") if f"`{path.stem}`" not in page]
    assert sorted(missing) == []
