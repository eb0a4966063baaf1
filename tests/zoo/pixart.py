"""PixArt, with sizes as conditions (alpha) and without (Sigma)."""

import comfy.supported_models

from .case import Case

UNET = {"hidden_size": 96, "num_heads": 4, "depth": 3, "caption_channels": 48, "model_max_length": 300}
SHARED = {
    "channels": 4,
    "rotary": False,
    "context": 48,
    # the host's position embeddings need more than 32 latent rows and columns
    "sizes": {"square": (34, 34), "wide": (30, 38)},
    "serves": lambda number: number % 2 == 0,
    "blind": "comfy.ldm.pixart.blocks.optimized_attention",
}
CASES = {
    "pixart alpha": Case(
        comfy.supported_models.PixArtAlpha,
        {"image_model": "pixart_alpha", **UNET, "micro_condition": True, "pe_interpolation": 2},
        **SHARED,
    ),
    "pixart sigma": Case(
        comfy.supported_models.PixArtSigma,
        {"image_model": "pixart_sigma", **UNET, "micro_condition": False, "pe_interpolation": 2},
        **SHARED,
    ),
}
