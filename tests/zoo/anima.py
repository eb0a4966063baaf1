"""Anima, which the oldest hosts do not have."""

from functools import partial
from unittest.mock import patch

import comfy.supported_models
import torch

from .case import Case
from .cosmos import CASES as COSMOS

UNET = COSMOS["cosmos predict2"].unet


def small_config():
    """The host's, but for the size of the network for text, which its class does not let anybody choose."""
    from comfy.ldm.anima import model

    class SmallAnima(comfy.supported_models.Anima):
        def get_model(self, *args, **kwargs):
            small = partial(model.LLMAdapter, source_dim=48, target_dim=48, model_dim=48, num_layers=1, num_heads=2)
            with patch.object(model, "LLMAdapter", small):
                return super().get_model(*args, **kwargs)

    return SmallAnima


def cases():
    words = {"t5xxl_ids": torch.arange(1, 10), "t5xxl_weights": torch.linspace(0.5, 1.5, 9)}
    case = partial(
        Case,
        small_config(),
        {**UNET, "image_model": "anima"},
        channels=16,
        context=48,
        sizes={"square": (1, 16, 16), "wide": (2, 8, 12)},
        serves=lambda number: number % 2 == 0,
    )
    return {"anima": case(), "anima, both encoders": case(prompt=words, uncounted=("llm_adapter",))}


CASES = cases() if hasattr(comfy.supported_models, "Anima") else {}
