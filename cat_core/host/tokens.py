"""Latents as image tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange


@dataclass(frozen=True)
class TokenGrid:
    """How a latent [B, C, H, W] is cut into rows x columns square patches; odd sides are padded as the host does.

    Args:
        height, width: of the latent.
        patch: side of a patch in latent pixels.
    """

    height: int
    width: int
    patch: int

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of tokens."""
        return -(-self.height // self.patch), -(-self.width // self.patch)

    @property
    def tokens(self) -> int:
        """N."""
        rows, columns = self.shape
        return rows * columns

    def to_tokens(self, latent: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] -> [B, N, C * patch * patch]; padding is zero."""
        rows, columns = self.shape
        p = self.patch
        padded = torch.nn.functional.pad(latent, (0, columns * p - self.width, 0, rows * p - self.height))
        return rearrange(padded, "b c (h p) (w q) -> b (h w) (c p q)", p=p, q=p)

    def to_latent(self, tokens: torch.Tensor) -> torch.Tensor:
        """Inverse of :meth:`to_tokens`; a last dimension of 1 is repeated over the patch (masks)."""
        rows, columns = self.shape
        p = self.patch
        if tokens.shape[-1] == 1:
            tokens = tokens.expand(-1, -1, p * p)
        latent = rearrange(tokens, "b (h w) (c p q) -> b c (h p) (w q)", h=rows, w=columns, p=p, q=p)
        return latent[..., : self.height, : self.width]
