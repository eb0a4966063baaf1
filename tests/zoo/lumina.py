"""Lumina 2, and Z-Image with pads behind text and image."""

import comfy.supported_models

from .case import Case

UNET = {
    "image_model": "lumina2",
    "patch_size": 2,
    "in_channels": 16,
    "cap_feat_dim": 48,
    "n_layers": 3,
    "qk_norm": True,
    "multiple_of": 32,
    "ffn_dim_multiplier": 2.0,
}
SHARED = {"channels": 16, "context": 48, "near_one": ("norm", "cap_embedder.0")}
CASES = {
    "lumina 2": Case(
        comfy.supported_models.Lumina2,
        {**UNET, "dim": 96, "n_heads": 6, "n_kv_heads": 2, "axes_dims": [8, 4, 4], "axes_lens": [300, 512, 512]},
        **SHARED,
        serves=lambda number: number >= 4,
    ),
    "z-image": Case(
        comfy.supported_models.ZImage,
        {
            **UNET,
            # the host's modulation needs this width
            "dim": 256,
            "n_layers": 2,
            "n_heads": 8,
            "n_kv_heads": 8,
            "axes_dims": [8, 12, 12],
            "axes_lens": [1536, 512, 512],
            "rope_theta": 256.0,
            "z_image_modulation": True,
            "time_scale": 1000.0,
            "pad_tokens_multiple": 32,
        },
        **SHARED,
        # 100 and 68 tokens: 28 pads
        sizes={"square": (20, 20), "wide": (8, 33)},
        behind=28,
        serves=lambda number: number >= 4,
    ),
}
