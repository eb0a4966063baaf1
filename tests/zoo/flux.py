"""Flux.1, with a guidance input (dev) and without (schnell), Fill, which is given a picture and a mask, and Flux.2."""

import comfy.supported_models
import torch
from comfy.ldm.flux.model import FluxParams

from .case import Case, list_known

PLAIN = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "vec_in_dim": 32,
    "context_in_dim": 48,
    "hidden_size": 64,
    "mlp_ratio": 4.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 3,
    "axes_dim": [8, 12, 12],
    "theta": 10000,
    "qkv_bias": True,
    "txt_ids_dims": [],
}
UNET = list_known(FluxParams, PLAIN)
FLUX2 = {
    **UNET,
    "image_model": "flux2",
    "in_channels": 128,
    "out_channels": 128,
    "patch_size": 1,
    "vec_in_dim": None,
    **list_known(FluxParams, {"txt_ids_dims": [3]}),
    "axes_dim": [8, 8, 8, 8],
    "theta": 2000,
    "qkv_bias": False,
    "guidance_embed": True,
    "global_modulation": True,
    "mlp_silu_act": True,
    "ops_bias": False,
    "default_ref_method": "index",
    "ref_index_scale": 10.0,
}
SHARED = {
    "channels": 16,
    "context": 48,
    "pooled": 32,
    "control": {"input": (2, 64), "output": (3, 64)},
    "references": True,
}
CASES = {
    "flux dev": Case(comfy.supported_models.Flux, {**UNET, "guidance_embed": True}, **SHARED),
    "flux schnell": Case(comfy.supported_models.FluxSchnell, {**UNET, "guidance_embed": False}, **SHARED),
    "flux fill": Case(
        comfy.supported_models.FluxInpaint,
        # a picture of 16 channels and a mask of 64
        {**UNET, "in_channels": 96, "guidance_embed": True},
        channels=16,
        context=48,
        pooled=32,
        prompt={"concat_latent_image": torch.ones(1, 16, 12, 20), "concat_mask": torch.eye(16).view(1, 1, 16, 16)},
    ),
    "flux 2": Case(
        comfy.supported_models.Flux2,
        FLUX2,
        channels=128,
        context=48,
        pooled=32,
        patch=(1, 1, 1),
        sizes={"square": (8, 8), "wide": (6, 10)},
    ),
}
