"""HunyuanVideo, and HunyuanImage, whose latents have no frames."""

import comfy.supported_models

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
