"""How alike two pictures are: PSNR, SSIM and a map of the difference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import avg_pool2d

WINDOW = 7
# differences of this part of the range and above are brightest
BRIGHTEST = 0.2
# from no difference to the largest
COLOURS = ((0.0, 0.0, 0.0), (0.35, 0.07, 0.45), (0.85, 0.25, 0.25), (0.99, 0.70, 0.20), (1.0, 1.0, 0.85))


@dataclass(frozen=True)
class Similarity:
    """PSNR in dB (infinite if equal) and SSIM (1 if equal) of every pair of pictures."""

    psnr: list[float]
    ssim: list[float]

    def text(self) -> str:
        """One line; of several pairs the mean and the least alike."""
        if all(math.isinf(value) for value in self.psnr):
            return "The pictures are equal."
        if len(self.psnr) == 1:
            return f"PSNR {self.psnr[0]:.1f} dB, SSIM {self.ssim[0]:.4f}"
        psnr, ssim = (sum(values) / len(values) for values in (self.psnr, self.ssim))
        worst = min(range(len(self.psnr)), key=self.psnr.__getitem__)
        return (
            f"Mean of {len(self.psnr)} pictures: PSNR {psnr:.1f} dB, SSIM {ssim:.4f}\n"
            f"Least alike is number {worst + 1}: PSNR {self.psnr[worst]:.1f} dB, SSIM {self.ssim[worst]:.4f}"
        )


def compare(reference: torch.Tensor, pictures: torch.Tensor) -> tuple[Similarity, torch.Tensor]:
    """Compare pictures [B, H, W, C] in 0..1 with one reference each, or with one for all.

    Returns:
        Their similarity, and maps of the difference [B, H, W, 3]: black is equal, the brightest colour is a fifth of
        the range or more; between them brightness grows with the root of the difference.

    Raises:
        ValueError: these are no pictures, their sizes or numbers do not fit, or a side is under SSIM's window of 7.
    """
    if not all(torch.is_tensor(images) and images.ndim == 4 for images in (reference, pictures)):
        raise ValueError("Only pictures (tensors of B, H, W, C) can be compared.")
    if reference.shape[-1] != pictures.shape[-1]:
        raise ValueError(f"Pictures of {reference.shape[-1]} channels and {pictures.shape[-1]} cannot be compared.")
    if reference.shape[1:] != pictures.shape[1:]:
        sizes = " and ".join(f"{w} x {h}" for h, w in (reference.shape[1:3], pictures.shape[1:3]))
        raise ValueError(f"Only pictures of one size can be compared, not {sizes}.")
    if len(reference) not in (1, len(pictures)):
        raise ValueError(f"{len(pictures)} pictures need as many references or one, not {len(reference)}.")
    height, width = pictures.shape[1:3]
    if min(height, width) < WINDOW:
        raise ValueError(f"Pictures must be at least {WINDOW} x {WINDOW} to be compared, not {width} x {height}.")
    noise_ratios, ssim, maps = [], [], []
    # one after another: all frames of a video at once would take many times its memory
    for one, other in zip(reference.expand_as(pictures), pictures, strict=True):
        one, other = one.double(), other.double()  # noqa: PLW2901
        noise_ratios.append(psnr(one, other))
        ssim.append(_ssim(one, other))
        maps.append(_heat((one - other).abs().mean(-1)))
    return Similarity(noise_ratios, ssim), torch.stack(maps)


def psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    """Peak signal-to-noise ratio of pictures of values in 0..1 in dB: 10 log10(1 / mean squared error).

    Infinite if they are equal. Example: ``psnr(picture, picture + 0.1)`` is 20.
    """
    error = (one.double() - other.double()).square().mean().item()
    return math.inf if error == 0 else -10 * math.log10(error)


def _ssim(one: torch.Tensor, other: torch.Tensor) -> float:
    """Mean structural similarity of [H, W, C] (Wang et al. 2004) over flat windows, as scikit-image's default."""
    x, y = (picture.movedim(-1, 0).unsqueeze(1) for picture in (one, other))
    mean_x, mean_y = (avg_pool2d(channel, WINDOW, 1) for channel in (x, y))
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    variance_x, variance_y, covariance = (
        (avg_pool2d(product, WINDOW, 1) - mean) * unbiased
        for product, mean in ((x * x, mean_x * mean_x), (y * y, mean_y * mean_y), (x * y, mean_x * mean_y))
    )
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    bottom = (mean_x.square() + mean_y.square() + c1) * (variance_x + variance_y + c2)
    return (top / bottom).mean().item()


def _heat(difference: torch.Tensor) -> torch.Tensor:
    """[H, W] in 0..1 -> [H, W, 3]."""
    colours = torch.tensor(COLOURS, device=difference.device)
    place = (difference / BRIGHTEST).clamp(max=1).sqrt().float().unsqueeze(-1) * (len(COLOURS) - 1)
    below = place.floor().clamp(max=len(COLOURS) - 2)
    index = below.long().squeeze(-1)
    return torch.lerp(colours[index], colours[index + 1], place - below)
