"""How close a picture is to the un-accelerated one."""

from __future__ import annotations

import numpy as np
import piq
import torch
from skimage.metrics import structural_similarity

from cat_core.similarity import psnr

MOST_PSNR = 100.0
"""dB; identical pictures would be at infinity, which no mean survives."""
METRICS = ("psnr", "ssim", "haarpsi")
"""Of pictures; more is closer."""


def compare_pictures(picture: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """All of :data:`METRICS` for two pictures [H, W, 3] float32 in 0..1.

    PSNR is in dB; SSIM (window 7, mean over colours) and HaarPSI are 1 for identical pictures.
    """
    return {
        "psnr": min(MOST_PSNR, psnr(torch.from_numpy(picture), torch.from_numpy(target))),
        "ssim": float(structural_similarity(picture, target, channel_axis=-1, data_range=1.0)),
        "haarpsi": float(piq.haarpsi(_batch(picture), _batch(target), data_range=1.0)),
    }


def relative_error(latent: torch.Tensor, target: torch.Tensor) -> float:
    """Norm of the difference over the target's norm."""
    return float((latent - target).norm() / target.norm())


def _batch(picture: np.ndarray) -> torch.Tensor:
    """[H, W, 3] -> [1, 3, H, W]."""
    return torch.from_numpy(picture).permute(2, 0, 1).unsqueeze(0)
