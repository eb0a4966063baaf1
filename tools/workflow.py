"""Workflow files as the front end saves them (UI format), turned into what the server executes (API format)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tools.dev import ROOT

FOLDER = ROOT / "example_workflows"
"""Where the host looks first for a pack's templates."""
# The front end puts this choice behind every seed.
AFTER_GENERATE = ("fixed", "increment", "decrement", "randomize")
NOTES = {"Note", "MarkdownNote"}
REROUTE = "Reroute"
MUTED, BYPASSED = 2, 4


def to_api(workflow: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """Return the API-format prompt of a UI-format workflow.

    Args:
        object_info: the server's ``/object_info``, which knows every node's inputs in order.

    Raises:
        ValueError: a node type that the server does not know, or values that do not fit a node's widgets.
    """
    links = _Links(workflow)
    nodes = [node for node in workflow["nodes"] if node["type"] not in NOTES and links.is_executed(node)]
    if unknown := sorted({node["type"] for node in nodes} - set(object_info)):
        raise ValueError(f"The server does not know the nodes {', '.join(unknown)}.")
    return {str(node["id"]): _node(node, object_info[node["type"]], links) for node in nodes}


def load_api(path: Path, object_info: dict[str, Any]) -> dict[str, Any]:
    """Read a workflow file and convert it, see :func:`to_api`."""
    return to_api(json.loads(path.read_text(encoding="utf-8")), object_info)


class _Links:
    """Where inputs get their values from, past reroutes and bypassed nodes."""

    def __init__(self, workflow: dict[str, Any]):
        self.nodes = {node["id"]: node for node in workflow["nodes"]}
        self.links = {link[0]: link for link in workflow["links"]}

    @staticmethod
    def is_executed(node: dict[str, Any]) -> bool:
        return node["type"] != REROUTE and node.get("mode") not in (MUTED, BYPASSED)

    def source(self, link: int | None) -> list | None:
        """[node id, output number] of the executed node behind a link, or None."""
        if link is None:
            return None
        _, number, slot, *_, kind = self.links[link]
        node = self.nodes[number]
        if self.is_executed(node):
            return [str(number), slot]
        if node.get("mode") == MUTED:
            return None
        # a reroute has one input; a bypassed node passes on the first input of the output's type
        passed = (i for i in node.get("inputs", []) if node["type"] == REROUTE or i["type"] == kind)
        return self.source(next((i.get("link") for i in passed), None))


def _node(node: dict[str, Any], info: dict[str, Any], links: _Links) -> dict[str, Any]:
    sources = {i["name"]: links.source(i.get("link")) for i in node.get("inputs", [])}
    linked = {name: source for name, source in sources.items() if source}
    return {"class_type": node["type"], "inputs": {**_widgets(node, info), **linked}}


def _widgets(node: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    """The node's widget values by name; the file holds them in order, and only that.

    What a host has added since as optional widgets has its default, as in the front end.
    """
    names: list[str | None] = []
    defaults: list[Any] = []  # of the last widgets
    for section in ("required", "optional"):
        for name, (kind, *rest) in info["input"].get(section, {}).items():
            if not is_widget(kind, *rest):
                continue
            options = rest[0] if rest else {}
            has_choice = options.get("control_after_generate")
            names += [name, None] if has_choice else [name]
            optional = section == "optional" and "default" in options and not has_choice
            defaults = [*defaults, options["default"]] if optional else []
    values = list(node.get("widgets_values") or [])
    if 0 < (missing := len(names) - len(values)) <= len(defaults):
        values += defaults[-missing:]
    choices = [value for name, value in zip(names, values, strict=False) if name is None]
    if len(names) != len(values) or any(choice not in AFTER_GENERATE for choice in choices):
        raise ValueError(f"The values of node {node['id']} do not fit the widgets of {node['type']}.")
    return {name: value for name, value in zip(names, values, strict=True) if name is not None}


def is_widget(kind: Any, options: Any = None) -> bool:
    """Whether an input of this type, with the options that the server names, is set on the node itself."""
    kind = (options or {}).get("widgetType", kind)  # of several types that may be linked, the one that is shown
    # a dynamic choice has more widgets behind some of its values, which none of the pack's workflows takes
    return isinstance(kind, list) or kind in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3")
