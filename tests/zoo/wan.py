"""Wan 2.1, text to video and image to video, and the Wan 2.2 with more channels."""

from types import SimpleNamespace

import comfy.supported_models
import torch

from .case import Case

UNET = {
    "image_model": "wan2.1",
    "model_type": "t2v",
    "dim": 64,
    "ffn_dim": 128,
    "num_heads": 2,
    "num_layers": 3,
    "text_dim": 48,
    "text_len": 16,
    "in_dim": 16,
    "out_dim": 16,
}
SHARED = {"context": 48, "sizes": {"square": (3, 8, 8), "wide": (2, 6, 10)}, "serves": lambda number: number % 2 == 0}
PICTURE = SimpleNamespace(
    penultimate_hidden_states=torch.randn(1, 257, 1280, generator=torch.Generator().manual_seed(5))
)
CASES = {
    "wan t2v": Case(comfy.supported_models.WAN21_T2V, UNET, channels=16, **SHARED),
    "wan t2v reference": Case(
        comfy.supported_models.WAN21_T2V,
        {**UNET, "in_dim_ref_conv": 16},
        channels=16,
        # the reference is as large as a frame
        **{**SHARED, "sizes": {"square": (3, 8, 8), "wide": (2, 8, 8)}},
        prompt={"reference_latents": [torch.randn(1, 16, 1, 8, 8, generator=torch.Generator().manual_seed(6))]},
    ),
    "wan i2v": Case(
        comfy.supported_models.WAN21_I2V,
        {**UNET, "model_type": "i2v", "in_dim": 36},
        channels=16,
        **{**SHARED, "serves": lambda number: number % 3 == 0},
        prompt={"clip_vision_output": PICTURE},
    ),
    "wan 2.2": Case(
        comfy.supported_models.WAN22_T2V,
        {**UNET, "in_dim": 48, "out_dim": 48},
        channels=48,
        **SHARED,
    ),
}
