"""What the nodes share: the settings' socket type, and their place in the menu."""

from comfy_api.latest import io

CATEGORY = "model/patch/CAT Pruning"
Settings = io.Custom("CAT_SETTINGS")
