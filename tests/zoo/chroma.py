"""Chroma."""

import comfy.supported_models

from .case import Case
from .flux import UNET

CASES = {
    "chroma": Case(
        comfy.supported_models.Chroma,
        {
            **{key: value for key, value in UNET.items() if key != "vec_in_dim"},
            "image_model": "chroma",
            "in_channels": 64,
            "out_channels": 64,
            "in_dim": 64,
            "out_dim": 64,
            "hidden_dim": 96,
            "n_layers": 2,
        },
        channels=16,
        context=48,
        pooled=32,
        control={"input": (2, 64), "output": (3, 64)},
        short_control=False,
    )
}
