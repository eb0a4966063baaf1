"""The host's attention override: fills the K/V caches at full steps and attends with them at pruned steps.

The host calls ``transformer_options["optimized_attention_override"](func, q, k, v, heads, ...)`` in place of its own
attention (``comfy/ldm/modules/attention.py: wrap_attn``). There is one slot; whatever was in it is called instead of
``func``. An object serves one model call, which numbers its attention layers in the order they run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from ..algorithm.clustering import Propagation
from ..algorithm.selection import Selection
from ..caching.kv import KVCache

Attention = Callable[..., torch.Tensor]


class _Override:
    def __init__(self, caches: list[KVCache], previous: Attention | None):
        self.caches, self.previous = caches, previous
        self.layer = 0

    def _next_layer(self) -> int:
        self.layer += 1
        return self.layer - 1

    def _attention(self, func: Attention) -> Attention:
        return func if self.previous is None else partial(self.previous, func)

    def _chunks(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return batch.chunk(len(self.caches))


class CapturingAttention(_Override):
    """Computes attention as it is and copies keys and values of every chunk of the batch into its cache."""

    def __call__(self, func: Attention, q, k, v, heads: int, *args: Any, **kwargs: Any) -> torch.Tensor:
        layer = self._next_layer()
        for cache, key, value in zip(self.caches, self._chunks(k), self._chunks(v), strict=True):
            cache.store(layer, key, value)
        return self._attention(func)(q, k, v, heads, *args, **kwargs)


class PrunedAttention(_Override):
    """Attends from the computed tokens to all tokens: cached keys and values with the computed rows renewed.

    Expects q, k, v [chunks * B, text + k, heads * d] with the image tokens last. Every chunk (conditioning) has its own
    cache and is attended to on its own, which needs no copy of the caches.
    """

    def __init__(
        self,
        caches: list[KVCache],
        selection: Selection,
        propagation: Propagation | None,
        previous: Attention | None,
    ):
        super().__init__(caches, previous)
        self.selection, self.propagation = selection, propagation

    def __call__(self, func: Attention, q, k, v, heads: int, *args: Any, **kwargs: Any) -> torch.Tensor:
        layer = self._next_layer()
        attend = self._attention(func)
        others = k.shape[1] - self.selection.count
        outputs = []
        for cache, query, key, value in zip(self.caches, *(self._chunks(t) for t in (q, k, v)), strict=True):
            keys, values = cache.renew(layer, key, value, self.selection, others, self.propagation)
            outputs.append(attend(query, keys, values, heads, *args, **kwargs))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)
