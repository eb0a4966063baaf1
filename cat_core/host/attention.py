"""The host's attention override: fills the K/V caches at full steps and attends with them at pruned steps.

The host calls ``transformer_options["optimized_attention_override"](func, q, k, v, heads, ...)`` in place of its own
attention (``comfy/ldm/modules/attention.py: wrap_attn``). There is one slot; whatever was in it is called instead of
``func``. An object serves one model call, which numbers its attention in the order it runs.

Sequences are rows of other tokens (text), image tokens, rows of other tokens (references); either part may be empty.
Tensors are [B, L, heads * d], or [B, heads, L, d] where the host says ``skip_reshape``; caches are [B, L, ...].
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from comfy.model_management import OOM_EXCEPTION

from ..algorithm.clustering import Propagation
from ..algorithm.selection import Selection
from ..caching.kv import KVCache

Attention = Callable[..., torch.Tensor]


class _Override:
    """
    Args:
        caches: one per chunk (conditioning) of the batch.
        previous: what was in the override's slot.
        serves: whether the n-th attention of a call is one over image tokens, see ``Family.attends_to_image``.
    """

    def __init__(self, caches: list[KVCache], previous: Attention | None, serves: Callable[[int], bool]):
        self.caches, self.previous, self.serves = caches, previous, serves
        self.number = -1

    def __call__(self, func: Attention, q, k, v, heads: int, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.number += 1
        func = func if self.previous is None else partial(self.previous, func)
        if not self.serves(self.number):
            return func(q, k, v, heads, *args, **kwargs)
        return self.attend(partial(self._called, func, heads, args, kwargs), q, k, v, kwargs.get("skip_reshape", False))

    @staticmethod
    def _called(func: Attention, heads: int, args: tuple, kwargs: dict, q, k, v) -> torch.Tensor:
        return func(q, k, v, heads, *args, **kwargs)

    def attend(self, func: Callable[..., torch.Tensor], q, k, v, heads_first: bool) -> torch.Tensor:
        """Answer an attention over image tokens; ``func(q, k, v)`` computes one."""
        raise NotImplementedError

    def _chunks(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return batch.chunk(len(self.caches))


class CapturingAttention(_Override):
    """Computes attention as it is and copies keys and values of every chunk of the batch into its cache.

    Args:
        out_of_memory: called if the caches' memory runs out; no more is copied then.
    """

    def __init__(
        self,
        caches: list[KVCache],
        previous: Attention | None,
        serves: Callable[[int], bool],
        out_of_memory: Callable[[], None],
    ):
        super().__init__(caches, previous, serves)
        self.out_of_memory = out_of_memory

    def attend(self, func: Callable[..., torch.Tensor], q, k, v, heads_first: bool) -> torch.Tensor:
        parts = zip(self.caches, self._chunks(k), self._chunks(v), strict=True) if self.caches else ()
        try:
            for cache, key, value in parts:
                cache.store(self.number, *_rows(heads_first, key, value))
        except OOM_EXCEPTION:
            self.caches = []
            self.out_of_memory()
        return func(q, k, v)


class PrunedAttention(_Override):
    """Attends from the computed tokens to all tokens: cached keys and values with the computed rows renewed.

    Expects sequences with the selected instead of all image tokens. Every chunk (conditioning) has its own cache and is
    attended to on its own, which needs no copy of the caches.

    Args:
        selections: of every conditioning's batch, all of as many tokens.
        propagations: of every conditioning, move keys and values that are not computed; None leaves them.

    Attributes:
        after: number of rows behind the image tokens, None for all that are not image tokens.
    """

    def __init__(
        self,
        caches: list[KVCache],
        previous: Attention | None,
        serves: Callable[[int], bool],
        selections: list[Selection],
        propagations: list[Propagation | None],
    ):
        super().__init__(caches, previous, serves)
        self.selections, self.propagations = selections, propagations
        self.after: int | None = 0

    def attend(self, func: Callable[..., torch.Tensor], q, k, v, heads_first: bool) -> torch.Tensor:
        others = k.shape[2 if heads_first else 1] - self.selections[0].count
        before = 0 if self.after is None else others - self.after
        outputs = []
        parts = zip(self.caches, self.selections, self.propagations, *map(self._chunks, (q, k, v)), strict=True)
        for cache, selection, propagation, query, *pair in parts:
            held = cache.renew(self.number, *_rows(heads_first, *pair), selection, before, propagation)
            outputs.append(func(query, *_rows(heads_first, *held)))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _rows(heads_first: bool, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """[B, heads, L, d] <-> [B, L, heads, d] as views, if heads come first."""
    return tuple(tensor.transpose(1, 2) for tensor in tensors) if heads_first else tensors
