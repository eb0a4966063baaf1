"""HunyuanVideo, version 1.5 with tokens of letters and a picture, and HunyuanImage, whose latents have no frames."""

import inspect
from types import SimpleNamespace

import comfy.supported_models
import torch
from comfy.ldm.flux.layers import DoubleStreamBlock
from comfy.ldm.hunyuan_video.model import HunyuanVideoParams

from .case import Case, list_known

PLAIN = {
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
    "meanflow_sum": False,
}
UNET = list_known(HunyuanVideoParams, PLAIN)
# older hosts have the text behind the video, newer ones in front of it
BEHIND = "flipped_img_txt" in inspect.signature(DoubleStreamBlock).parameters
DRAW = torch.Generator().manual_seed(5)
VIDEO = {
    "channels": 16,
    "context": 48,
    "pooled": 32,
    "sizes": {"square": (3, 8, 8), "wide": (2, 6, 10)},
    "behind": 7 * BEHIND,
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
        behind=(7 + 4 + 3) * BEHIND,
        serves=lambda number: number >= 2,
        # of letters and pictures; these are wider than this whole model
        uncounted=("byt5_in", "vision_in"),
        # which are counted as if they went through the refiner of text, too
        inexact=0.07,
    ),
    "hunyuan image": Case(
        comfy.supported_models.HunyuanImage21,
        {**UNET, "in_channels": 64, "out_channels": 64, "patch_size": [1, 1], "axes_dim": [16, 16], "vec_in_dim": None},
        channels=64,
        context=48,
        patch=(1, 1, 1),
        sizes={"square": (8, 8), "wide": (6, 10)},
        behind=7 * BEHIND,
        serves=lambda number: number >= 2,
    ),
}
