"""LTX-2 and LTX-2.3: a video and its sound; older hosts may not have them."""

from dataclasses import replace

import comfy.supported_models

from . import ltxv
from .case import Joined

UNET = {
    **ltxv.UNET,
    "image_model": "ltxav",
    "audio_in_channels": 128,
    "audio_cross_attention_dim": 64,
    "audio_attention_head_dim": 32,
    "audio_num_attention_heads": 2,
    "connector_attention_head_dim": 48,
    "connector_num_attention_heads": 1,
    "connector_num_layers": 1,
}


def cases():
    case = Joined(
        comfy.supported_models.LTXAV,
        UNET,
        channels=128,
        context=96,  # for video and sound, as the model's own networks for text leave it
        patch=(1, 1, 1),
        sizes={"square": ((128, 3, 5, 5), (8, 9, 16)), "wide": ((128, 2, 4, 9), (8, 6, 16))},
        serves=lambda number: number % 6 in (0, 5),
        near_one=("norm",),  # "adaln_single" scales nothing
    )
    later = {"cross_attention_adaln": True, "apply_gated_attention": True, "caption_proj_before_connector": True}
    return {"ltx-2": case, "ltx-2.3": replace(case, unet={**UNET, **later}, context=96 + 64)}


CASES = cases() if hasattr(comfy.supported_models, "LTXAV") else {}
