"""ERNIE-Image; older hosts may not have it."""

import comfy.supported_models

from .case import Case

UNET = {
    "image_model": "ernie",
    "hidden_size": 96,
    "num_attention_heads": 3,
    "num_layers": 3,
    "ffn_hidden_size": 128,
    "text_in_dim": 48,
    "rope_axes_dim": (8, 12, 12),
}


def cases():
    case = Case(
        comfy.supported_models.ErnieImage,
        UNET,
        channels=128,
        context=48,
        patch=(1, 1, 1),
        sizes={"square": (8, 8), "wide": (6, 10)},
        behind=None,
        blind="comfy.ldm.ernie.model.optimized_attention",
        near_one=("norm", "_ln."),
    )
    return {"ernie": case}


CASES = cases() if hasattr(comfy.supported_models, "ErnieImage") else {}
