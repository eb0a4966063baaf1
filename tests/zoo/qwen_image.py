"""Qwen-Image; latents have one frame."""

import comfy.supported_models

from .case import Case

CASES = {
    "qwen-image": Case(
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
}
