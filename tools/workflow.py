"""Workflow files as the front end saves them (UI format), turned into what the server executes (API format)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# The front end puts this choice behind every seed.
AFTER_GENERATE = ("fixed", "increment", "decrement", "randomize")
NOT_EXECUTED = {"Note", "MarkdownNote", "Reroute"}
MUTED, BYPASSED = 2, 4


def to_api(workflow: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """Return the API-format prompt of a UI-format workflow.

    Args:
        object_info: the server's ``/object_info``, which knows every node's inputs in order.

    Raises:
        ValueError: a node type that the server does not know.
    """
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    nodes = [n for n in workflow["nodes"] if n["type"] not in NOT_EXECUTED and n.get("mode") not in (MUTED, BYPASSED)]
    if unknown := sorted({node["type"] for node in nodes} - set(object_info)):
        raise ValueError(f"The server does not know the nodes {', '.join(unknown)}.")
    return {str(node["id"]): _node(node, object_info[node["type"]], sources) for node in nodes}


def load_api(path: Path, object_info: dict[str, Any]) -> dict[str, Any]:
    """Read a workflow file and convert it, see :func:`to_api`."""
    return to_api(json.loads(path.read_text(encoding="utf-8")), object_info)


def _node(node: dict[str, Any], info: dict[str, Any], sources: dict[int, list]) -> dict[str, Any]:
    linked = {i["name"]: sources[i["link"]] for i in node.get("inputs", []) if i.get("link") is not None}
    values = iter(node.get("widgets_values") or [])
    inputs: dict[str, Any] = {}
    for section in ("required", "optional"):
        for name, (kind, *options) in info["input"].get(section, {}).items():
            if not _is_widget(kind):
                continue
            inputs[name] = next(values)
            if (options[0] if options else {}).get("control_after_generate"):
                assert next(values) in AFTER_GENERATE
    return {"class_type": node["type"], "inputs": {**inputs, **linked}}


def _is_widget(kind: Any) -> bool:
    return isinstance(kind, list) or kind in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
