"""What the nodes share: the settings' socket type, their place in the menu, and text on a node."""

import sys
from collections.abc import Sequence
from dataclasses import fields

from comfy_api.latest import io

CATEGORY = "model/patch/CAT Pruning"
Settings = io.Custom("CAT_SETTINGS")


def found_by(*words: str) -> dict[str, list[str]]:
    """Words that the front end's search finds a node by, for its schema: hosts before 0.11 know none."""
    known = any(field.name == "search_aliases" for field in fields(io.Schema))
    return {"search_aliases": list(words)} if known else {}


def show(text: str, node: type[io.ComfyNode], images: Sequence[dict] = ()) -> None:
    """Show lines on a node that asked for its id, in the browser that queued the prompt: ``web/cat_pruning.js``.

    Args:
        images: saved pictures that are shown as if they were the node's output; none leave it as it is.
    """
    # importing the host's server would start the making of one: where one runs it is there
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if node.hidden is not None and server is not None and server.client_id is not None:
        told = {"node": node.hidden.unique_id, "text": text, "images": list(images)}
        server.send_sync("cat_pruning.lines", told, server.client_id)
