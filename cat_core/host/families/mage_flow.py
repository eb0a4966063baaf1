"""MageFlow: Qwen-Image's blocks, over tokens of one place of the latent.

Host file: ``comfy/ldm/mage_flow/model.py``.

Tested on ComfyUI 0.30.0. Older ones do not have it.
"""

from __future__ import annotations

from .qwen_image import QwenImage


class MageFlow(QwenImage):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "MageFlow"
    classes = (("comfy.ldm.mage_flow.model", "MageFlowTransformer2DModel"),)
