"""CogVideoX: with position embeddings, with rotary ones, and with tokens of two frames; older hosts may not have it."""

from dataclasses import replace

import comfy.supported_models

from .case import Case

UNET = {
    "image_model": "cogvideox",
    "num_attention_heads": 3,
    "attention_head_dim": 32,
    "time_embed_dim": 32,
    "text_embed_dim": 48,
    "num_layers": 3,
}


def cases():
    small = Case(
        comfy.supported_models.CogVideoX_T2V,
        UNET,
        channels=16,
        context=48,
        sizes={"square": (1, 16, 16), "wide": (2, 8, 12)},
        rotary=False,
        near_one=("norm.weight", "norm_q", "norm_k", "norm_final"),
    )
    large = replace(small, unet={**UNET, "use_rotary_positional_embeddings": True}, rotary=True)
    newer = replace(
        large,
        config=comfy.supported_models.CogVideoX_I2V,
        unet={**large.unet, "in_channels": 32, "patch_size_t": 2, "ofs_embed_dim": 32},
        sizes={"square": (2, 16, 16), "wide": (3, 8, 12)},
        patch=(2, 2, 2),
    )
    return {"cogvideox 2b": small, "cogvideox 5b": large, "cogvideox 1.5": newer}


CASES = cases() if hasattr(comfy.supported_models, "CogVideoX_T2V") else {}
