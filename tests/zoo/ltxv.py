"""LTX-Video."""

import comfy.supported_models
import torch

from .case import Case

UNET = {
    "image_model": "ltxv",
    "in_channels": 128,
    "num_layers": 3,
    "num_attention_heads": 2,
    "attention_head_dim": 48,
    "cross_attention_dim": 96,
    "caption_channels": 48,
}

CASES = {
    "ltxv": Case(
        comfy.supported_models.LTXV,
        UNET,
        channels=128,
        context=48,
        patch=(1, 1, 1),
        sizes={"square": (3, 5, 5), "wide": (2, 4, 9)},
        serves=lambda number: number % 2 == 0,
        near_one=("norm",),  # "adaln_single" scales nothing
        prompt={"attention_mask": torch.tensor([[1, 1, 1, 1, 1, 1, 0]])},
    )
}
