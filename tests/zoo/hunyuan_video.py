"""HunyuanVideo, version 1.5 with tokens of letters and a picture, and HunyuanImage, whose latents have no frames."""

from types import SimpleNamespace

import comfy.supported_models
import torch

from .case import Case

UNET = {
    "image_model": "hunyuan_video",
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": [1, 2, 2],
    "vec_in_dim": 32,
    "context_in_dim": 48,
    "hidden_size": 64,
    "mlp_ratio": 4.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 2,
    "axes_dim": [8, 12, 12],
    "theta": 256,
    "qkv_bias": True,
    "guidance_embed": True,
    "byt5": False,
    "meanflow": False,
    "use_cond_type_embedding": False,
    "vision_in_dim": None,
}
DRAW = torch.Generator().manual_seed(5)
VIDEO = {
    "channels": 16,
    "context": 48,
    "pooled": 32,
    "sizes": {"square": (3, 8, 8), "wide": (2, 6, 10)},
    "behind": 7,
    "serves": lambda number: number >= 2,
}
CASES = {
    "hunyuan video": Case(
        comfy.supported_models.HunyuanVideo,
        UNET,
        **VIDEO,
        control={"input": (2, 64), "output": (0, 64)},
        short_control=False,
    ),
    "hunyuan video 1.5": Case(
        comfy.supported_models.HunyuanVideo15,
        {
            **UNET,
            "in_channels": 65,
            "out_channels": 32,
            "patch_size": [1, 1, 1],
            "vec_in_dim": None,
            "guidance_embed": False,
            "byt5": True,
            "use_cond_type_embedding": True,
            "vision_in_dim": 24,
        },
        channels=32,
        context=48,
        pooled=32,
        sizes={"square": (3, 4, 4), "wide": (2, 3, 5)},
        patch=(1, 1, 1),
        prompt={
            "conditioning_byt5small": torch.randn(1, 4, 1472, generator=DRAW),
            "clip_vision_output": SimpleNamespace(last_hidden_state=torch.randn(1, 3, 24, generator=DRAW)),
        },
        behind=7 + 4 + 3,
        serves=lambda number: number >= 2,
        # the mappers of letters and pictures are wider than this whole model, and not in the formula
        inexact=2.0,
    ),
    "hunyuan image": Case(
        comfy.supported_models.HunyuanImage21,
        {**UNET, "in_channels": 64, "out_channels": 64, "patch_size": [1, 1], "axes_dim": [16, 16], "vec_in_dim": None},
        channels=64,
        context=48,
        patch=(1, 1, 1),
        sizes={"square": (8, 8), "wide": (6, 10)},
        behind=7,
        serves=lambda number: number >= 2,
    ),
}
