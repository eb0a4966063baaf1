"""Inpainting: between refreshes what is repainted is computed, and a ring around it.

Of all else the host puts the given picture back at every step (``comfy/samplers.py: KSamplerX0Inpaint``). It counts for
its keys and values alone, and those nearby count most: the measurements are in docs/inpainting.md.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn.functional import max_pool1d

from ..settings import CATSettings

RING = 1 / 8
"""Width of the ring, of the picture's shorter side."""
LARGEST_SHARE = 0.7
"""Of the picture: where more is repainted, ring and all, there is nothing to single out."""
REFRESH_INTERVAL = 4


def focus_on_repainted(settings: CATSettings, noise_mask: torch.Tensor | None) -> CATSettings:
    """Settings for a run that repaints where ``noise_mask`` [B, C, (T,) H, W] is above 0; ``settings`` for all others.

    Videos are repainted where any frame is.
    """
    if noise_mask is None or noise_mask.dim() < 4:
        return settings
    repainted = noise_mask.amax(tuple(range(1, noise_mask.dim() - 2))) > 0
    around = grow(repainted.float(), round(RING * min(repainted.shape[-2:])))
    if not 0 < around.mean((-2, -1)).max() <= LARGEST_SHARE:
        return settings
    return replace(settings, keep_ratio=0.0, refresh_interval=REFRESH_INTERVAL, focus_mask=around)


def grow(mask: torch.Tensor, width: int) -> torch.Tensor:
    """A mask [B, H, W] with ``width`` more rows and columns on every side of what it covers."""
    for _ in "rows", "columns":
        mask = max_pool1d(mask, 2 * width + 1, stride=1, padding=width).mT
    return mask
