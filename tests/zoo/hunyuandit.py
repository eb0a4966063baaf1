"""HunyuanDiT 1.2, and 1.1 with size and style as conditions."""

import comfy.supported_models
import torch

from .case import Case

UNET = {
    "hidden_size": 64,
    # one skip connection, from the first block to the last
    "depth": 4,
    "num_heads": 4,
    "text_states_dim": 48,
    "text_states_dim_t5": 40,
    "text_len": 7,
    "text_len_t5": 5,
}
SHARED = {
    "channels": 4,
    "context": 48,
    "prompt": {
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 0, 0]]),
        "conditioning_mt5xl": torch.randn(1, 5, 40, generator=torch.Generator().manual_seed(3)),
        "attention_mask_mt5xl": torch.tensor([[1, 1, 1, 0, 0]]),
    },
    # of self- and cross-attention in turn
    "serves": lambda number: number % 2 == 0,
    "blind": "comfy.ldm.hydit.attn_layers.optimized_attention",
    "control": {"output": (1, 64)},
    "short_control": False,
}
CASES = {
    "hunyuandit": Case(comfy.supported_models.HunyuanDiT, {"image_model": "hydit", **UNET}, **SHARED),
    "hunyuandit 1.1": Case(
        comfy.supported_models.HunyuanDiT1,
        {"image_model": "hydit1", **UNET, "size_cond": True, "use_style_cond": True},
        **SHARED,
    ),
}
