"""Chroma."""

import comfy.supported_models
from comfy.ldm.chroma.model import ChromaParams

from .case import Case, list_known
from .flux import PLAIN

CASES = {
    "chroma": Case(
        comfy.supported_models.Chroma,
        {
            **list_known(ChromaParams, {**PLAIN, "vec_in_dim": None}),
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
