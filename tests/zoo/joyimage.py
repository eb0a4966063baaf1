"""JoyImage-Edit, from text alone and with two reference latents; older hosts may not have it."""

from dataclasses import replace

import comfy.supported_models
import torch

from .case import Case, resizable

UNET = {
    "image_model": "joyimage",
    "hidden_size": 64,
    "num_attention_heads": 2,
    "text_dim": 48,
    "num_layers": 3,
    "rope_dim_list": [8, 12, 12],
}


def cases():
    case = Case(
        resizable(comfy.supported_models.JoyImage),
        UNET,
        channels=16,
        context=48,
        sizes={"square": (1, 16, 16), "wide": (2, 8, 12)},
        behind=None,
    )
    draw = torch.Generator().manual_seed(0)
    references = [torch.randn(1, 16, 1, *size, generator=draw) for size in [(8, 12), (7, 6)]]
    with_references = replace(case, prompt={"reference_latents": references}, inexact=0.01)
    return {"joyimage": case, "joyimage references": with_references}


CASES = cases() if hasattr(comfy.supported_models, "JoyImage") else {}
