"""Keys and values of every attention layer, kept between steps."""

from __future__ import annotations

import torch

from ..algorithm.clustering import Propagation
from ..algorithm.selection import Selection


class KVCache:
    """Keys and values of all layers for one conditioning, one preallocated buffer [B, L, d] each per layer.

    Rows are in the model's own order. ``dtype`` and ``device`` of None keep those of what is stored.
    """

    def __init__(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None):
        self.dtype, self.device = dtype, device
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def store(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Copy all rows of ``key`` and ``value`` [B, L, d] into the layer's buffers."""
        held = self.layers.get(layer)
        if held is None or held[0].shape != key.shape:
            held = tuple(torch.empty_like(t, dtype=self.dtype, device=self.device) for t in (key, value))
            self.layers[layer] = (held[0], held[1])
        for buffer, rows in zip(held, (key, value), strict=True):
            buffer.copy_(rows)

    def renew(
        self,
        layer: int,
        key: torch.Tensor,
        value: torch.Tensor,
        selection: Selection,
        others_first: int,
        propagation: Propagation | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write newly computed rows in place and return the layer's full-length keys and values [B, L, d].

        Args:
            key, value: [B, others_first + k, d]: rows of other (text) tokens, then of the selected image tokens.
            selection: which image tokens the last k rows belong to.
            others_first: number of rows in front of the image tokens, in the buffers too.
            propagation: moves the image rows that were not computed, None leaves them.
        """
        return tuple(  # type: ignore[return-value]
            self._renew(buffer, rows, selection, others_first, propagation)
            for buffer, rows in zip(self.layers[layer], (key, value), strict=True)
        )

    @staticmethod
    def _renew(
        buffer: torch.Tensor, rows: torch.Tensor, selection: Selection, first: int, propagation: Propagation | None
    ) -> torch.Tensor:
        held = buffer.to(rows.device, rows.dtype)
        flat = held.flatten(2)  # values may come with their heads apart: [B, L, heads, d / heads]
        if first:
            held[:, :first].copy_(rows[:, :first])
        places, computed = selection.rows(flat.shape[1], first), rows[:, first:].flatten(2).flatten(0, 1)
        if propagation:
            change = computed - flat.flatten(0, 1).index_select(0, places)
            flat[:, first:] += propagation(change.unflatten(0, selection.indices.shape))
        flat.flatten(0, 1).index_copy_(0, places, computed)
        if held is not buffer:
            buffer.copy_(held)
        return held

    @property
    def bytes(self) -> int:
        """Memory held."""
        return sum(tensor.nbytes for layer in self.layers.values() for tensor in layer)
