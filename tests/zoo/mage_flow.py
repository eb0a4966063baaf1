"""MageFlow; older hosts may not have it."""

import comfy.supported_models

from .case import Case
from .qwen_image import CASES as QWEN_IMAGE


def cases():
    unet = {**QWEN_IMAGE["qwen-image"].unet, "image_model": "mage_flow", "in_channels": 128, "out_channels": 128}
    case = Case(
        comfy.supported_models.MageFlow,
        unet,
        channels=128,
        context=48,
        patch=(1, 1, 1),
        sizes={"square": (8, 8), "wide": (6, 10)},
        control={"input": (3, 64)},
        references=True,
    )
    return {"mage flow": case}


CASES = cases() if hasattr(comfy.supported_models, "MageFlow") else {}
