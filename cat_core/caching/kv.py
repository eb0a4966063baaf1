"""Keys and values of every attention layer, kept between steps."""

from __future__ import annotations

import torch

from ..algorithm.clustering import Propagation
from ..algorithm.selection import Selection


class KVCache:
    """Keys and values of all layers for one conditioning, one preallocated buffer [B, L, d] each per layer.

    Rows are in the model's own order; d may come as heads and their width. ``dtype`` and ``device`` of None keep those
    of what is stored.
    """

    def __init__(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None):
        self.dtype, self.device = dtype, device
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def store(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Copy all rows of ``key`` and ``value`` [B, L, d] into the layer's buffers."""
        held = self.layers.get(layer)
        if held is None or held[0].shape != key.shape:
            held = self._buffer(key), self._buffer(value)
            self.layers[layer] = held
        for buffer, rows in zip(held, (key, value), strict=True):
            buffer.copy_(rows)

    def _buffer(self, rows: torch.Tensor) -> torch.Tensor:
        # contiguous whatever the layout of ``rows``: :meth:`renew` writes through views
        return torch.empty(rows.shape, dtype=self.dtype or rows.dtype, device=self.device or rows.device)

    def renew(
        self,
        layer: int,
        key: torch.Tensor,
        value: torch.Tensor,
        selection: Selection,
        first: int,
        propagation: Propagation | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write newly computed rows in place and return the layer's full-length keys and values [B, L, d].

        Args:
            key, value: [B, first + k + after, d]: rows of other tokens, of the selected image tokens, of other tokens.
            selection: which image tokens the k rows belong to.
            first: number of rows in front of the image tokens.
            propagation: moves the image rows that were not computed, None leaves them.

        Raises:
            ValueError: the numbers of rows do not fit: something else than the selected tokens was computed.
        """
        return tuple(  # type: ignore[return-value]
            self._renew(buffer, rows, selection, first, propagation)
            for buffer, rows in zip(self.layers[layer], (key, value), strict=True)
        )

    @staticmethod
    def _renew(
        buffer: torch.Tensor, rows: torch.Tensor, selection: Selection, first: int, propagation: Propagation | None
    ) -> torch.Tensor:
        held = buffer.to(rows.device, rows.dtype)
        flat = held.flatten(2)
        behind, last = first + selection.tokens, first + selection.count
        if flat.shape[1] - behind != rows.shape[1] - last:
            raise ValueError(f"{rows.shape[1]} computed rows do not fit {flat.shape[1]} cached ones.")
        held[:, :first].copy_(rows[:, :first])
        held[:, behind:].copy_(rows[:, last:])
        places, computed = selection.rows(flat.shape[1], first), rows[:, first:last].flatten(2).flatten(0, 1)
        if propagation:
            change = computed - flat.flatten(0, 1).index_select(0, places)
            flat[:, first:behind] += propagation(change.unflatten(0, selection.indices.shape))
        flat.flatten(0, 1).index_copy_(0, places, computed)
        if held is not buffer:
            buffer.copy_(held)
        return held

    @property
    def bytes(self) -> int:
        """Memory held."""
        return sum(tensor.nbytes for layer in self.layers.values() for tensor in layer)
