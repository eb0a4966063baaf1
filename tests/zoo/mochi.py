"""Mochi."""

import comfy.supported_models
import torch

from .case import Case

CASES = {
    "mochi": Case(
        comfy.supported_models.GenmoMochi,
        {
            "image_model": "mochi_preview",
            "depth": 3,
            "patch_size": 2,
            "num_heads": 2,
            "hidden_size_x": 64,
            "hidden_size_y": 32,
            # the host wants this product with the width
            "mlp_ratio_x": 192.0,
            "mlp_ratio_y": 4.0,
            "learn_sigma": False,
            "in_channels": 12,
            "qk_norm": True,
            "qkv_bias": False,
            "out_bias": True,
            "attn_drop": 0.0,
            "patch_embed_bias": True,
            "posenc_preserve_area": True,
            "timestep_mlp_bias": True,
            "attend_to_padding": False,
            "timestep_scale": 1000.0,
            "use_t5": True,
            "t5_feat_dim": 48,
            "t5_token_length": 7,
            "rope_theta": 10000.0,
        },
        channels=12,
        context=48,
        sizes={"square": (3, 8, 8), "wide": (2, 6, 10)},
        behind=None,
        prompt={"attention_mask": torch.ones(1, 7, dtype=torch.int64)},
        inexact=0.01,
    )
}
