"""Builds the workflows of ``tools/recipes`` and their thumbnails: ``python -m tools.build_workflows``.

A recipe says nothing of links: its nodes are in the order in which a picture passes them, and a socket takes the newest
output of its own name, else of its type. What widgets and sockets a node has is asked from the host.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from tools.host import ROOT
from tools.recipes import RECIPES
from tools.recipes.parts import Node, Recipe
from tools.server import running_server
from tools.workflow import FOLDER, is_widget

CAT = Node("CATPruning", {"preset": "automatic"})
REPORT = Node("CATPruningReport")
LOADERS, PROMPTS, SAMPLING, SAMPLER, REPORTS, RESULT = range(6)
WIDTHS = (300, 340, 300, 300, 300, 300)
GAP = 40
HEIGHTS = {"CATPruning": 120, "CATPruningReport": 460, "LoadImage": 330, "SaveImage": 330, "SaveVideo": 330}
"""Of nodes that show something; the others' follow from their rows."""
GROWING = "COMFY_AUTOGROW_V3"


def file_of(recipe: Recipe) -> Path:
    return FOLDER / f"cat_pruning_{recipe.name}.json"


def build(recipe: Recipe, info: dict[str, Any]) -> str:
    """The workflow's file; ``info`` is the host's ``/object_info``."""
    graph = _Graph(info)
    graph.add(LOADERS, *recipe.load)
    graph.add(PROMPTS, *recipe.prompt)
    for patches, sampling in recipe.runs:
        graph.add(LOADERS, *patches)
        graph.add(PROMPTS, CAT)
        for node in sampling:
            graph.add(SAMPLER if node.kind == "SamplerCustomAdvanced" else SAMPLING, node)
        graph.add(REPORTS, REPORT)
    graph.add(RESULT, *recipe.save)
    graph.add_note(_note(recipe))
    return json.dumps(graph.to_dict(recipe.name), indent=1) + "\n"


def _note(recipe: Recipe) -> str:
    nodes = [*recipe.load, *(node for run in recipe.runs for node in run.patches)]
    files = dict.fromkeys(file for node in nodes for file in node.files)
    return "\n\n".join(
        [
            f"## {recipe.title} with CAT Pruning",
            "Connect *CAT Pruning* between the model and the sampler; *CAT Pruning Report* tells what it saved. "
            "To compare, switch `enabled` off and run again with the same seed.",
            f"{recipe.expect} Settings and files are those of ComfyUI's template *{recipe.template}*.",
            "\n".join(f"- `models/{file.directory}`: [{file.name}]({file.url})" for file in files),
        ]
    )


class _Graph:
    """Nodes and links in the front end's format, and where they are placed."""

    def __init__(self, info: dict[str, Any]):
        self.info = info
        self.nodes: list[dict[str, Any]] = []
        self.links: list[list] = []
        self.columns: list[int] = []
        self.newest: dict[str, tuple[dict[str, Any], int]] = {}

    def add(self, column: int, *nodes: Node) -> None:
        for node in nodes:
            described = self.info[node.kind]
            made = self._put(node.kind, column)
            made["widgets_values"] = _values(node, described["input"])
            self._take(made, node, described)
            self._give(made, node, described)
            made["size"] = [WIDTHS[column], HEIGHTS.get(node.kind) or _height(made)]
            if node.files:
                files = [{"name": one.name, "url": one.url, "directory": one.directory} for one in node.files]
                made["properties"]["models"] = files
            if node.title:
                made["title"] = node.title
            if node is CAT:
                made |= {"color": "#223", "bgcolor": "#335"}

    def add_note(self, text: str) -> None:
        """At the top, above the loaders."""
        note = self._put("MarkdownNote", LOADERS)
        note |= {"widgets_values": [text], "title": "Read me", "size": [660, 240], "pos": [0, -240 - GAP]}

    def _put(self, kind: str, column: int) -> dict[str, Any]:
        number = len(self.nodes) + 1
        made: dict[str, Any] = {"id": number, "type": kind, "pos": [], "size": [], "flags": {}, "order": number - 1}
        made |= {"mode": 0, "inputs": [], "outputs": [], "properties": {"Node name for S&R": kind}}
        self.nodes.append(made)
        self.columns.append(column)
        return made

    def _take(self, made: dict[str, Any], node: Node, described: dict[str, Any]) -> None:
        sockets, widgets = _inputs(described["input"])
        made["inputs"] = [{"name": name, "type": kind, "link": None} for name, (kind, _) in sockets.items()]
        made["inputs"] += [
            {"name": name, "type": kind, "widget": {"name": name}, "link": None} for name, kind in widgets.items()
        ]
        for slot, entry in enumerate(made["inputs"]):
            _, required = sockets.get(entry["name"], ("", False))
            if wanted := self._source(entry, node.takes, required):
                self._connect(made, slot, wanted)

    def _source(self, entry: dict[str, Any], takes: dict[str, str], required: bool) -> str | None:
        """Name of the output that an input takes; widgets, and sockets that may stay open, are asked for by name."""
        name = entry["name"].partition(".")[0]
        if name in takes or "widget" in entry:
            return takes.get(name)
        if name in self.newest:
            return name
        return entry["type"] if required else None

    def _connect(self, made: dict[str, Any], slot: int, wanted: str) -> None:
        if wanted not in self.newest:
            raise ValueError(f"No node before {made['type']} gives {wanted}.")
        source, number = self.newest[wanted]
        entry, output = made["inputs"][slot], source["outputs"][number]
        entry["link"] = len(self.links) + 1
        output["links"] = [*(output["links"] or []), entry["link"]]
        self.links.append([entry["link"], source["id"], number, made["id"], slot, output["type"]])

    def _give(self, made: dict[str, Any], node: Node, described: dict[str, Any]) -> None:
        """Outputs are found by type, the first of several; where there are several, by name too."""
        kinds, names = described["output"], described["output_name"]
        made["outputs"] = [{"name": n, "type": k, "links": None} for n, k in zip(names, kinds, strict=True)]
        several = Counter(kinds)
        for number, (kind, name) in reversed([*enumerate(zip(kinds, names, strict=True))]):
            given = node.gives[number : number + 1] if node.gives else (kind, *[name] * (several[kind] > 1))
            self.newest |= dict.fromkeys(given, (made, number))

    def to_dict(self, name: str) -> dict[str, Any]:
        x = 0
        for column, width in enumerate(WIDTHS):
            y = 0
            inside = [n for n, c in zip(self.nodes, self.columns, strict=True) if c == column and not n["pos"]]
            for node in inside:
                node["pos"] = [x, y]
                y += node["size"][1] + GAP
            x += (width + GAP) * bool(inside)
        head = {"id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"cat-pruning/{name}")), "revision": 0}
        head |= {"last_node_id": len(self.nodes), "last_link_id": len(self.links)}
        tail = {"groups": [], "config": {}, "extra": {}, "version": 0.4}
        return {**head, "nodes": self.nodes, "links": self.links, **tail}


def _inputs(described: dict[str, Any]) -> tuple[dict[str, tuple[str, bool]], dict[str, str]]:
    """Sockets, with their types and whether they must be linked, and widgets with their types."""
    sockets: dict[str, tuple[str, bool]] = {}
    widgets: dict[str, str] = {}
    for section in ("required", "optional"):
        for name, (kind, *options) in described.get(section, {}).items():
            if kind == GROWING:
                template = options[0]["template"]
                first = template["names"][0] if "names" in template else f"{template['prefix']}0"
                (grown,) = template["input"]["required"].values()
                sockets[f"{name}.{first}"] = (grown[0], False)
            elif is_widget(kind, *options):
                widgets[name] = "COMBO" if isinstance(kind, list) else kind
            else:
                sockets[name] = (kind, section == "required")
    return sockets, widgets


def _values(node: Node, described: dict[str, Any]) -> list[Any]:
    """Widget values in order, up to the last one that matters: what hosts have added since has its default."""
    values: list[Any] = []
    needed = 0
    for section in ("required", "optional"):
        for name, (kind, *rest) in described.get(section, {}).items():
            if not is_widget(kind, *rest):
                continue
            options = rest[0] if rest else {}
            values.append(node.values.get(name, _default(kind, options)))
            if options.get("control_after_generate"):
                values.append("fixed")
            if section == "required" or name in node.values or "default" not in options:
                needed = len(values)
    if unknown := set(node.values) - set().union(*described.values()):
        raise ValueError(f"{node.kind} has no input {', '.join(sorted(unknown))}.")
    return values[:needed]


def _default(kind: Any, options: dict[str, Any]) -> Any:
    """What the front end shows of a new node's widget."""
    choices = kind if isinstance(kind, list) else options.get("options") or [""]
    first = choices[0] if choices else ""
    return options.get("default", first["key"] if isinstance(first, dict) else first)


def _height(made: dict[str, Any]) -> int:
    """Room for rows, with more of it for text."""
    widgets = [entry["type"] for entry in made["inputs"] if "widget" in entry]
    sockets = len(made["inputs"]) - len(widgets)
    fields = max(len(widgets), len(made["widgets_values"]))  # with the choice behind a seed
    height = 20 + 20 * max(sockets, len(made["outputs"])) + 24 * fields + 46 * widgets.count("STRING")
    return -(-height // 10) * 10


def draw_thumbnail(recipe: Recipe) -> Image.Image:
    """The report of the demo's run, not a picture of the model, under the model's name."""
    ground = Image.new("RGB", (512, 288), "#1f1e24")
    with Image.open(ROOT / "web" / "docs" / "steps.png") as steps:
        ground.paste(steps.convert("RGB").resize((278, 240), Image.Resampling.LANCZOS), (117, 6))
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), 20)
    ImageDraw.Draw(ground).text((256, 267), f"{recipe.title} + CAT Pruning", "#ffffff", font, anchor="mm")
    return ground


def main() -> None:
    with running_server() as server:
        info = server.get("/object_info")
    for recipe in RECIPES:
        file_of(recipe).write_text(build(recipe, info), encoding="utf-8")
        draw_thumbnail(recipe).save(file_of(recipe).with_suffix(".jpg"), quality=85)
    print(f"{len(RECIPES)} workflows in {FOLDER}")


if __name__ == "__main__":
    main()
