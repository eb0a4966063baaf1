"""Latents as image tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from einops import rearrange


@dataclass(frozen=True)
class TokenGrid:
    """How a latent [B, C, (T,) H, W] is cut into patches; odd sides are padded as the host does.

    Args:
        size: (T,) H, W of the latent.
        patch: latent frames, rows and columns of a patch.
    """

    size: tuple[int, ...]
    patch: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        """(frames,) rows, columns of tokens."""
        return self._counts[-len(self.size) :]

    @property
    def tokens(self) -> int:
        """N."""
        return math.prod(self.shape)

    @property
    def _volume(self) -> tuple[int, ...]:
        return self.size if len(self.size) == 3 else (1, *self.size)

    @property
    def _counts(self) -> tuple[int, ...]:
        return tuple(-(-size // patch) for size, patch in zip(self._volume, self.patch, strict=True))

    def to_tokens(self, latent: torch.Tensor) -> torch.Tensor:
        """[B, C, (T,) H, W] -> [B, N, C * patch]; padding is zero."""
        latent = latent.unsqueeze(2) if latent.ndim == 4 else latent
        missing = [n * p - size for n, p, size in zip(self._counts, self.patch, self._volume, strict=True)]
        padded = torch.nn.functional.pad(latent, [number for end in reversed(missing) for number in (0, end)])
        p, q, r = self.patch
        return rearrange(padded, "b c (t p) (h q) (w r) -> b (t h w) (c p q r)", p=p, q=q, r=r)

    def to_latent(self, tokens: torch.Tensor) -> torch.Tensor:
        """Inverse of :meth:`to_tokens`; a last dimension of 1 is repeated over the patch (masks)."""
        if tokens.shape[-1] == 1:
            tokens = tokens.expand(-1, -1, math.prod(self.patch))
        (t, h, w), (p, q, r) = self._counts, self.patch
        latent = rearrange(tokens, "b (t h w) (c p q r) -> b c (t p) (h q) (w r)", t=t, h=h, w=w, p=p, q=q, r=r)
        frames, rows, columns = self._volume
        latent = latent[:, :, :frames, :rows, :columns]
        return latent if len(self.size) == 3 else latent.squeeze(2)


def part_of_mask(mask: torch.Tensor, area: tuple[int, ...], shape: tuple[int, ...]) -> torch.Tensor:
    """The part of a mask [..., h, w] of any size that lies over an area of a latent of ``shape`` [..., H, W].

    ``area`` has sizes, then offsets, of the latent's last dimensions.
    """
    half = len(area) // 2
    for axis in (-2, -1):
        size, offset, length = area[half + axis], area[axis], mask.shape[axis]
        first = min(round(offset * length / shape[axis]), length - 1)
        last = max(round((offset + size) * length / shape[axis]), first + 1)
        mask = mask.narrow(axis, first, min(last, length) - first)
    return mask
