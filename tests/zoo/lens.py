"""Lens, with all of the text and with a part of it masked; older hosts may not have it."""

from dataclasses import replace

import comfy.supported_models
import torch

from .case import Case

UNET = {
    "image_model": "lens",
    "in_channels": 128,
    "out_channels": 32,
    "num_layers": 3,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "enc_hidden_dim": 24,
    "axes_dims_rope": (8, 12, 12),
    "selected_layer_index": (0, 1),
}


def cases():
    case = Case(
        comfy.supported_models.Lens,
        UNET,
        channels=128,
        context=48,  # two layers of 24
        patch=(1, 1, 1),
        sizes={"square": (8, 8), "wide": (6, 10)},
        behind=None,
        control={"input": (3, 64)},
    )
    mask = {"attention_mask": torch.tensor([[1, 1, 1, 1, 1, 0, 0]])}
    return {"lens": case, "lens masked": replace(case, prompt=mask)}


CASES = cases() if hasattr(comfy.supported_models, "Lens") else {}
