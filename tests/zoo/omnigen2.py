"""OmniGen2, from text alone and with two reference latents."""

import comfy.supported_models
import torch

from .case import Case

UNET = {
    "image_model": "omnigen2",
    "patch_size": 2,
    "in_channels": 16,
    "hidden_size": 96,
    "num_layers": 3,
    "num_refiner_layers": 2,
    "num_attention_heads": 6,
    "num_kv_heads": 2,
    "multiple_of": 32,
    "axes_dim_rope": [8, 4, 4],
    "axes_lens": [1024, 1664, 1664],
    "text_feat_dim": 48,
    "timestep_scale": 1000.0,
}
SHARED = {
    "channels": 16,
    "context": 48,
    "sharing": 3,
    "near_one": ("norm.weight", "norm1.weight", "norm2", "norm_q", "norm_k", "caption_embedder.0"),
}
# the host counts the text's tokens in its mask
MASK = torch.ones(1, 7, dtype=torch.int64)
REFERENCES = [
    torch.randn(1, 16, *size, generator=torch.Generator().manual_seed(seed))
    for seed, size in enumerate([(8, 12), (7, 6)])
]
CASES = {
    "omnigen2": Case(
        comfy.supported_models.Omnigen2,
        UNET,
        **SHARED,
        prompt={"attention_mask": MASK},
        serves=lambda number: number >= 4,
    ),
    "omnigen2 references": Case(
        comfy.supported_models.Omnigen2,
        UNET,
        **SHARED,
        prompt={"attention_mask": MASK, "reference_latents": REFERENCES},
        serves=lambda number: number >= 6,
        # the refiner of references has modulations and attention that the formula does not know
        inexact=0.02,
    ),
}
