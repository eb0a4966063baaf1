"""Keys and values of every attention layer, kept between steps."""

from __future__ import annotations

from collections.abc import Hashable

import torch

from ..algorithm.clustering import Propagation
from ..algorithm.selection import LayoutError, Selection


class RowBuffer:
    """A preallocated copy of rows [B, L, d] in a dtype and on a device of its own; d may come as heads and their width.

    Eight-bit floats hold every row over its largest value, which is kept as a scale.
    """

    def __init__(self, rows: torch.Tensor, dtype: torch.dtype | None, device: torch.device | str | None):
        dtype, device = dtype or rows.dtype, device or rows.device
        # contiguous whatever the layout of ``rows``: caches are written through views
        self.values = torch.empty(rows.shape, dtype=dtype, device=device)
        self.scale = self.values.new_empty((*rows.shape[:2], 1), dtype=torch.float32) if dtype.itemsize == 1 else None

    def read(self, like: torch.Tensor) -> torch.Tensor:
        """All rows with dtype and device of ``like``: the buffer itself if it has these."""
        values = self.values.to(like.device).to(like.dtype)
        if self.scale is None:
            return values
        return (values.flatten(2) * self.scale.to(like.device, like.dtype)).view(self.values.shape)

    def write(self, rows: torch.Tensor) -> None:
        """Take over all rows; nothing to do for those that :meth:`read` gave out as the buffer itself."""
        if rows is self.values:
            return
        if self.scale is not None:
            flat = rows.flatten(2).float()
            scale = flat.abs().amax(-1, keepdim=True).clamp(min=1e-12) / torch.finfo(self.values.dtype).max
            self.scale.copy_(scale)
            rows = (flat / scale).to(self.values.dtype).view(rows.shape)
        self.values.copy_(rows)

    @property
    def bytes(self) -> int:
        """Memory held."""
        return self.values.nbytes + (0 if self.scale is None else self.scale.nbytes)


class KVCache:
    """Keys and values of all layers for one conditioning, one preallocated buffer [B, L, d] each per layer.

    Rows are in the model's own order. ``dtype`` and ``device`` of None keep those of what is stored.
    """

    def __init__(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None):
        self.dtype, self.device = dtype, device
        self.layers: dict[Hashable, tuple[RowBuffer, RowBuffer]] = {}

    def store(self, layer: Hashable, key: torch.Tensor, value: torch.Tensor) -> None:
        """Copy all rows of ``key`` and ``value`` [B, L, d] into the layer's buffers."""
        held = self.layers.get(layer)
        if held is None or held[0].values.shape != key.shape:
            held = RowBuffer(key, self.dtype, self.device), RowBuffer(value, self.dtype, self.device)
            self.layers[layer] = held
        for buffer, rows in zip(held, (key, value), strict=True):
            buffer.write(rows)

    def renew(
        self,
        layer: Hashable,
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
            LayoutError: nothing is kept of this layer, or the numbers of rows do not fit.
        """
        if layer not in self.layers:
            raise LayoutError(f"no keys and values are kept of attention {layer}")
        return tuple(  # type: ignore[return-value]
            _renew(buffer, rows, selection, first, propagation)
            for buffer, rows in zip(self.layers[layer], (key, value), strict=True)
        )

    @property
    def bytes(self) -> int:
        """Memory held."""
        return sum(buffer.bytes for layer in self.layers.values() for buffer in layer)


def _renew(
    buffer: RowBuffer, rows: torch.Tensor, selection: Selection, first: int, propagation: Propagation | None
) -> torch.Tensor:
    held = buffer.read(rows)
    flat, length = held.flatten(2), held.shape[1]
    if length - selection.tokens != rows.shape[1] - selection.count:
        raise LayoutError(f"{rows.shape[1]} computed rows do not fit {length} kept ones")
    if propagation:
        image = rows[:, first : first + selection.count].flatten(2)
        change = image - flat.flatten(0, 1).index_select(0, selection.rows(length, first)).view_as(image)
        flat[:, first : first + selection.tokens] += propagation(change)
    # one write for all rows: with small models the number of operations is what renewing costs
    flat.flatten(0, 1).index_copy_(0, selection.rows_with_others(length, first), rows.flatten(2).flatten(0, 1))
    buffer.write(held)
    return held
