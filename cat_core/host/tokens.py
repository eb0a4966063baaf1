"""Latents as image tokens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from einops import rearrange


@dataclass(frozen=True)
class TokenGrid:
    """How a latent [B, C, ...] is cut into patches; sides that do not divide are padded as the host does.

    Args:
        size: of the latent behind its channels: (T,) H, W of a picture or video, L of sound, any number of sides.
        patch: how many latent places of a side make a token, of the last sides; None and sides before them: one.
        channels: C, where the host packed the latent and others behind it into one [B, 1, values]
            (``comfy/utils.py: pack_latents``); None where it is alone.
    """

    size: tuple[int, ...]
    patch: tuple[int, ...] | None = None
    channels: int | None = None

    @cached_property
    def _patch(self) -> tuple[int, ...]:
        patch = self.patch or ()
        return (1,) * (len(self.size) - len(patch)) + patch[max(len(patch) - len(self.size), 0) :]

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """(frames,) rows, columns of tokens."""
        return tuple(-(-size // patch) for size, patch in zip(self.size, self._patch, strict=True))

    @property
    def tokens(self) -> int:
        """N."""
        return math.prod(self.shape)

    @cached_property
    def _names(self) -> tuple[str, str]:
        """Sides of the padded latent as einops knows them, (count patch) each, and their parts in tokens."""
        sides = range(len(self.size))
        apart = " ".join(f"(n{i} p{i})" for i in sides)
        return f"b c {apart}", f"b ({' '.join(f'n{i}' for i in sides)}) (c {' '.join(f'p{i}' for i in sides)})"

    def to_tokens(self, latent: torch.Tensor) -> torch.Tensor:
        """[B, C, ...] -> [B, N, C * patch]; padding is zero."""
        parts = list(zip(self.shape, self._patch, self.size, strict=True))
        missing = [n * p - size for n, p, size in parts]
        padded = torch.nn.functional.pad(latent, [number for end in reversed(missing) for number in (0, end)])
        return rearrange(padded, " -> ".join(self._names), **{f"p{i}": p for i, p in enumerate(self._patch)})

    def to_latent(self, tokens: torch.Tensor) -> torch.Tensor:
        """Inverse of :meth:`to_tokens`; a last dimension of 1 is repeated over the patch (masks)."""
        if tokens.shape[-1] == 1:
            tokens = tokens.expand(-1, -1, math.prod(self._patch))
        counts = {f"n{i}": n for i, n in enumerate(self.shape)} | {f"p{i}": p for i, p in enumerate(self._patch)}
        latent = rearrange(tokens, " -> ".join(reversed(self._names)), **counts)
        inside: tuple[Any, ...] = (..., *(slice(size) for size in self.size))
        return latent[inside]

    def unpack(self, latent: torch.Tensor) -> torch.Tensor:
        """The latent [B, C, ...] that has tokens, of one that may be packed."""
        if self.channels is None:
            return latent
        shape = self.channels, *self.size
        return latent[:, 0, : math.prod(shape)].unflatten(1, shape)

    @property
    def parts(self) -> int:
        """How many :meth:`split` gives."""
        return 1 if self.channels is None else 2

    def split(self, latent: torch.Tensor) -> list[torch.Tensor]:
        """Image tokens [B, N, d], and of a packed latent all else as one token [B, 1, values]."""
        tokens = self.to_tokens(self.unpack(latent))
        return [tokens] if self.channels is None else [tokens, latent[..., self.channels * math.prod(self.size) :]]

    def join(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Inverse of :meth:`split`."""
        latent = self.to_latent(parts[0])
        return latent if self.channels is None else torch.cat((latent.flatten(1).unsqueeze(1), *parts[1:]), -1)


def find_grid(
    size: tuple[int, ...], patch: tuple[int, ...] | None, packed: Sequence[tuple[int, ...]] = ()
) -> TokenGrid:
    """The grid of a latent by its size behind B, C; of latents [B, C, ...] ``packed`` in it the first has tokens."""
    if len(packed) > 1 and size == (sum(math.prod(shape[1:]) for shape in packed),):
        _, channels, *sides = packed[0]
        return TokenGrid(tuple(sides), patch, channels)
    return TokenGrid(size, patch)


def count_tokens(latents: Iterable[torch.Tensor] | None, patch: tuple[int, ...]) -> int:
    """Image tokens of latents [B, C, ...] together; None is none."""
    return sum(TokenGrid(tuple(latent.shape[2:]), patch).tokens for latent in latents or ())


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
