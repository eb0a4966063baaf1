"""HiDream, with fewer tokens from Llama than from T5."""

import comfy.supported_models
import torch

from .case import Case

UNET = {
    "image_model": "hidream",
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 24,
    "num_attention_heads": 4,
    "caption_channels": [48, 40],
    "text_emb_dim": 32,
    "num_routed_experts": 4,
    "num_activated_experts": 2,
    "axes_dims_rope": [8, 8, 8],
    "max_resolution": [128, 128],
    "llama_layers": [0, 1, 2, 2],
}
LLAMA = torch.randn(1, 3, 5, 40, generator=torch.Generator().manual_seed(3))
CASES = {
    "hidream": Case(
        comfy.supported_models.HiDream,
        UNET,
        channels=16,
        context=48,
        pooled=32,
        prompt={"conditioning_llama3": LLAMA},
        behind=None,
    )
}
