"""A small picture of a latent, as the host's own previews make it (``latent_preview.py``)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def latent_preview(latent_format: Any, latent: torch.Tensor) -> np.ndarray | None:
    """Colours of the first picture, or of its middle frame, of a latent that left the sampler.

    Args:
        latent_format: the model's (``comfy/latent_formats.py``), with a matrix from its channels to RGB.
        latent: [B, C, (T,) H, W].

    Returns:
        float32 [H, W, 3] in 0..1, or None for latents that the format knows no colours of.
    """
    factors = getattr(latent_format, "latent_rgb_factors", None)
    if factors is None or latent.is_nested or latent.ndim not in (4, 5):
        return None
    picture = latent_format.process_in(latent[:1].detach().cpu().float())
    if reshape := getattr(latent_format, "latent_rgb_factors_reshape", None):
        picture = reshape(picture)
    frame = picture[0] if picture.ndim == 4 else picture[0, :, picture.shape[2] // 2]
    if len(factors) != len(frame):
        return None
    colours = torch.einsum("chw,cr->hwr", frame, torch.as_tensor(factors, dtype=torch.float32))
    bias = getattr(latent_format, "latent_rgb_factors_bias", None)
    if bias is not None:
        colours += torch.as_tensor(bias, dtype=torch.float32)
    return ((colours.nan_to_num() + 1) / 2).clamp(0, 1).numpy()
