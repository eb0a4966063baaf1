"""Ideogram 4, with text and, as its second model runs, without; older hosts may not have it."""

import comfy.supported_models

from .case import Case, resizable

UNET = {
    "image_model": "ideogram4",
    "in_channels": 128,
    "num_layers": 3,
    "num_attention_heads": 2,
    "attention_head_dim": 32,
    "intermediate_size": 96,
    "adaln_dim": 24,
    "llm_features_dim": 48,
    "mrope_section": [4, 6, 6],
}


class WithoutText(Case):
    """Prompts as the host's guider of two models gives them where there is none."""

    def conditioning(self, seed, tokens=7, **extra):
        return [[None, extra]]


def cases():
    case = Case(
        resizable(comfy.supported_models.Ideogram4),
        UNET,
        channels=128,
        context=48,
        patch=(1, 1, 1),
        sizes={"square": (8, 8), "wide": (6, 10)},
    )
    return {"ideogram 4": case, "ideogram 4 without text": WithoutText(**vars(case))}


CASES = cases() if hasattr(comfy.supported_models, "Ideogram4") else {}
