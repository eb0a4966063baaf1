"""Qwen-Image; latents have one frame, and more of a layered picture, which the oldest hosts do not know."""

from dataclasses import replace

import comfy.supported_models
import torch
from comfy.ldm.qwen_image.model import QwenImageTransformer2DModel

from .case import Case, knows

CASE = Case(
    comfy.supported_models.QwenImage,
    {
        "image_model": "qwen_image",
        "in_channels": 64,
        "num_layers": 3,
        "attention_head_dim": 32,
        "num_attention_heads": 2,
        "joint_attention_dim": 48,
        "axes_dims_rope": (8, 12, 12),
    },
    channels=16,
    context=48,
    sizes={"square": (1, 16, 16), "wide": (1, 12, 20)},
    control={"input": (3, 64)},
    references=True,
)
# of layered pictures
LAYERED = {"use_additional_t_cond": True, "default_ref_method": "negative_index"}
CASES = {
    "qwen-image": CASE,
    "qwen-image masked": replace(CASE, prompt={"attention_mask": torch.tensor([[1, 1, 1, 1, 1, 0, 0]])}),
}
if knows(QwenImageTransformer2DModel, LAYERED):
    sizes = {"square": (4, 8, 8), "wide": (3, 6, 10)}
    CASES["qwen-image layered"] = replace(CASE, unet={**CASE.unet, **LAYERED}, sizes=sizes)
