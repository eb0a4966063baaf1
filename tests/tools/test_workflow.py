"""Workflow files of the front end, turned into what the server executes."""

import json

import pytest

from tools.host import ROOT
from tools.workflow import FOLDER, load_api, to_api

INFO = {
    "Loader": {"input": {"required": {}}},
    "Patch": {
        "input": {"required": {"model": ["MODEL", {}], "on": ["BOOLEAN", {}]}, "optional": {"mask": ["MASK", {}]}}
    },
    "Sampler": {
        "input": {
            "required": {
                "model": ["MODEL", {}],
                "seed": ["INT", {"control_after_generate": True}],
                "steps": ["INT", {}],
                "name": [["euler", "heun"], {}],
            },
            "optional": {"dtype": ["COMBO", {"options": ["a", "b"]}], "cfg": ["FLOAT"]},
        }
    },
}
VALUES = [7, "randomize", 20, "heun", "b", 4.5]


def node(number, kind, *links, values=(), **extra):
    """A node whose inputs are ``model`` and so on, by the links that end there."""
    names = ["model", "steps"] if kind == "Sampler" else ["model"]
    inputs = [{"name": name, "type": "MODEL", "link": link} for name, link in zip(names, links, strict=False)]
    outputs = [{"name": "MODEL", "type": "MODEL", "links": []}]
    return {"id": number, "type": kind, "inputs": inputs, "outputs": outputs, "widgets_values": list(values), **extra}


def chain(kind="Patch", values=(True,), **extra):
    """Loader 1 -> node 2 -> sampler 3."""
    nodes = [node(1, "Loader"), node(2, kind, 10, values=values, **extra), node(3, "Sampler", 11, values=VALUES)]
    return {"nodes": nodes, "links": [[10, 1, 0, 2, 0, "MODEL"], [11, 2, 0, 3, 0, "MODEL"]]}


def test_widgets_and_links_become_named_inputs():
    assert to_api(chain(), INFO) == {
        "1": {"class_type": "Loader", "inputs": {}},
        "2": {"class_type": "Patch", "inputs": {"model": ["1", 0], "on": True}},
        "3": {
            "class_type": "Sampler",
            "inputs": {"model": ["2", 0], "seed": 7, "steps": 20, "name": "heun", "dtype": "b", "cfg": 4.5},
        },
    }


@pytest.mark.parametrize("choice", ["fixed", "increment", "decrement", "randomize"])
def test_the_choice_behind_a_seed_is_no_input(choice):
    workflow = chain()
    workflow["nodes"][2]["widgets_values"][1] = choice
    assert to_api(workflow, INFO)["3"]["inputs"]["steps"] == 20


def test_a_seed_without_that_choice_takes_one_value():
    sampler = {**INFO["Sampler"]["input"]["required"], "seed": ["INT", {"control_after_generate": False}]}
    info = {**INFO, "Sampler": {"input": {"required": sampler}}}
    workflow = chain()
    workflow["nodes"][2]["widgets_values"] = [7, 20, "heun"]
    assert to_api(workflow, info)["3"]["inputs"]["steps"] == 20


def test_a_connected_widget_takes_the_link_and_still_uses_up_its_value():
    workflow = chain()
    workflow["links"].append([12, 1, 2, 3, 1, "INT"])
    workflow["nodes"][2] = node(3, "Sampler", 11, 12, values=VALUES)
    inputs = to_api(workflow, INFO)["3"]["inputs"]
    assert inputs["steps"] == ["1", 2]
    assert inputs["name"] == "heun"


@pytest.mark.parametrize("kind", ["Note", "MarkdownNote"])
def test_notes_are_left_out(kind):
    workflow = chain()
    workflow["nodes"].append(node(4, kind, values=["words"]))
    assert set(to_api(workflow, INFO)) == {"1", "2", "3"}


def test_a_reroute_passes_its_link_on():
    assert to_api(chain("Reroute", values=()), INFO)["3"]["inputs"]["model"] == ["1", 0]


def test_reroutes_in_a_row_pass_the_link_on():
    loader, reroute, sampler = chain("Reroute", values=())["nodes"]
    links = [[10, 1, 0, 2, 0, "MODEL"], [12, 2, 0, 4, 0, "MODEL"], [11, 4, 0, 3, 0, "MODEL"]]
    workflow = {"nodes": [loader, reroute, sampler, node(4, "Reroute", 12)], "links": links}
    assert to_api(workflow, INFO)["3"]["inputs"]["model"] == ["1", 0]


def test_a_bypassed_node_passes_on_what_has_its_outputs_type():
    prompt = to_api(chain(mode=4), INFO)
    assert set(prompt) == {"1", "3"}
    assert prompt["3"]["inputs"]["model"] == ["1", 0]


def test_what_a_muted_node_gave_is_not_connected():
    prompt = to_api(chain(mode=2), INFO)
    assert set(prompt) == {"1", "3"}
    assert "model" not in prompt["3"]["inputs"]


def test_unknown_nodes_are_named_all_at_once():
    workflow = chain("Mystery")
    workflow["nodes"].append(node(4, "Riddle"))
    with pytest.raises(ValueError, match="does not know the nodes Mystery, Riddle"):
        to_api(workflow, INFO)


@pytest.mark.parametrize("mode", [2, 4])
def test_an_unknown_node_that_is_switched_off_does_no_harm(mode):
    workflow = chain()
    workflow["nodes"].append(node(4, "Mystery", mode=mode))
    assert set(to_api(workflow, INFO)) == {"1", "2", "3"}


@pytest.mark.parametrize("values", [VALUES[:-1], [*VALUES, 1], []])
def test_values_that_do_not_fit_the_nodes_widgets_are_refused_by_its_name(values):
    # the file was saved with another version of the node: every value might be the wrong one
    workflow = chain()
    workflow["nodes"][2]["widgets_values"] = values
    with pytest.raises(ValueError, match="Sampler"):
        to_api(workflow, INFO)


def test_optional_widgets_that_the_host_has_added_since_have_their_defaults():
    optional = {"dtype": ["COMBO", {"options": ["a", "b"]}], "cfg": ["FLOAT", {"default": 4.0}], "mask": ["MASK"]}
    info = {**INFO, "Sampler": {"input": {**INFO["Sampler"]["input"], "optional": optional}}}
    workflow = chain()
    workflow["nodes"][2]["widgets_values"] = VALUES[:-1]
    assert to_api(workflow, info)["3"]["inputs"]["cfg"] == 4.0
    workflow["nodes"][2]["widgets_values"] = VALUES[:-2]
    with pytest.raises(ValueError, match="Sampler"):
        to_api(workflow, info)


def test_something_else_behind_a_seed_is_refused():
    workflow = chain()
    workflow["nodes"][2]["widgets_values"] = [7, 20, "heun", "b", 4.5, 1]
    with pytest.raises(ValueError, match="Sampler"):
        to_api(workflow, INFO)


def test_the_workflow_given_is_not_changed():
    workflow = chain()
    before = json.dumps(workflow)
    to_api(workflow, INFO)
    assert json.dumps(workflow) == before


def test_a_file_is_read_as_utf8(tmp_path):
    workflow = chain()
    workflow["nodes"][2]["widgets_values"][3] = "Übung"
    file = tmp_path / "one.json"
    file.write_bytes(json.dumps(workflow, ensure_ascii=False).encode())
    assert load_api(file, INFO)["3"]["inputs"]["name"] == "Übung"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_the_packs_workflows_link_only_what_is_there(path):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    nodes = {one["id"]: one for one in workflow["nodes"]}
    links = {link[0]: link for link in workflow["links"]}
    for number, source, slot, target, place, kind in links.values():
        assert number in nodes[source]["outputs"][slot]["links"]
        assert kind in (nodes[source]["outputs"][slot]["type"], "*")
        assert nodes[target]["inputs"][place]["link"] == number
    assert max(links) <= workflow["last_link_id"]
    assert max(nodes) <= workflow["last_node_id"]


@pytest.mark.parametrize("path", sorted((ROOT / "subgraphs").glob("*.json")), ids=lambda path: path.stem)
def test_the_packs_subgraphs_link_only_what_is_there(path):
    outer = json.loads(path.read_text(encoding="utf-8"))
    ((shown,), (inner,)) = outer["nodes"], outer["definitions"]["subgraphs"]
    assert (shown["type"], inner["name"], shown["title"]) == (inner["id"], path.stem, path.stem)
    nodes = {one["id"]: one for one in inner["nodes"]}
    outward = {side: [(end["name"], end["type"]) for end in inner[side]] for side in ("inputs", "outputs")}
    assert {side: [(end["name"], end["type"]) for end in shown[side]] for side in outward} == outward
    for link in inner["links"]:
        source, target = nodes.get(link["origin_id"]), nodes.get(link["target_id"])
        given = source["outputs"][link["origin_slot"]] if source else inner["inputs"][link["origin_slot"]]
        taken = target["inputs"][link["target_slot"]] if target else inner["outputs"][link["target_slot"]]
        assert link["id"] in given["links" if source else "linkIds"]
        assert link["id"] in ([taken["link"]] if target else taken["linkIds"])
        assert given["type"] == link["type"]
        assert link["type"] in (taken["type"], "*") or taken["type"] == "*"
    ends = {end for side in ("inputs", "outputs") for one in inner[side] for end in one["linkIds"]}
    assert ends == {one["id"] for one in inner["links"] if {one["origin_id"], one["target_id"]} & {-10, -20}}
