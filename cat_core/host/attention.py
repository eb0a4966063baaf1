"""The host's attention override: fills the K/V caches at full steps and attends with them at pruned steps.

The host calls ``transformer_options["optimized_attention_override"](func, q, k, v, heads, ...)`` in place of its own
attention (``comfy/ldm/modules/attention.py: wrap_attn``). There is one slot; whatever was in it is called instead of
``func``. An object serves one model call. It knows an attention by the block that is running and its number in it; what
runs outside of blocks, and what the layout does not name, is computed as it is.

Sequences are rows of other tokens (text), image tokens, rows of other tokens (references); either part may be empty.
Tensors are [B, L, heads * d], or [B, heads, L, d] where the host says ``skip_reshape``; caches are [B, L, ...]. Masks
are [1 or B, ..., L], with a column for every key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from ..algorithm.clustering import Propagation
from ..algorithm.selection import LayoutError, Selection
from ..caching.kv import KVCache
from .memory import is_out_of_memory, outside_of_traces

OVERRIDE = "optimized_attention_override"

Attention = Callable[..., torch.Tensor]
Name = tuple[str, int, int]
"""Where a block's kind is, number of the block, number of the attention in it."""


class NamedAttention:
    """
    Args:
        caches: one per chunk (conditioning) of the batch.
        only: numbers of the attentions of a block whose keys are image tokens, None for all.

    Attributes:
        block: the block that is running, None between blocks.
        before: rows in front of the image tokens, in sequences that have others.
        text: how many of these are text, which a block's second attention may be without.
    """

    def __init__(self, caches: list[KVCache], only: tuple[int, ...] | None):
        self.caches, self.only = caches, only
        self.before = self.text = 0
        self.enter(None)

    def enter(self, block: tuple[str, int] | None) -> None:
        """A block begins, or with None it has ended."""
        self.block, self.number = block, -1

    def __call__(
        self, func: Attention, q, k, v, heads: int, *args: Any, previous: Attention | None = None, **kwargs: Any
    ) -> torch.Tensor:
        """Answer an attention; ``previous`` is what was in the override's slot."""
        func = func if previous is None else partial(previous, func)
        if self.block is not None:
            self.number += 1
        if self.block is None or (self.only is not None and self.number not in self.only):
            return func(q, k, v, heads, *args, **kwargs)
        compute = partial(self._compute, func, heads, args, kwargs)
        mask = args[0] if args else kwargs.get("mask")
        return self.attend((*self.block, self.number), compute, q, k, v, mask, kwargs.get("skip_reshape", False))

    @staticmethod
    def _compute(func: Attention, heads: int, args: tuple, kwargs: dict, q, k, v, mask) -> torch.Tensor:
        if mask is not None:  # in the way the host gave it
            args, kwargs = ((mask, *args[1:]), kwargs) if args else (args, {**kwargs, "mask": mask})
        return func(q, k, v, heads, *args, **kwargs)

    def attend(self, name: Name, func: Attention, q, k, v, mask, heads_first: bool) -> torch.Tensor:
        """Answer an attention over image tokens; ``func(q, k, v, mask)`` computes one."""
        raise NotImplementedError

    def _chunks(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return batch.chunk(len(self.caches))


class CapturingAttention(NamedAttention):
    """Computes attention as it is and copies keys and values of every chunk of the batch into its cache.

    Args:
        out_of_memory: called if the caches' memory runs out; no more is copied then.
    """

    def __init__(self, caches: list[KVCache], only: tuple[int, ...] | None, out_of_memory: Callable[[], None]):
        super().__init__(caches, only)
        self.out_of_memory = out_of_memory

    def attend(self, name: Name, func: Attention, q, k, v, mask, heads_first: bool) -> torch.Tensor:
        parts = zip(self.caches, self._chunks(k), self._chunks(v), strict=True) if self.caches else ()
        try:
            with outside_of_traces():
                for cache, key, value in parts:
                    cache.store(name, *_rows(heads_first, key, value))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self.caches = []
            self.out_of_memory()
        return func(q, k, v, mask)


class PrunedAttention(NamedAttention):
    """Attends from the computed tokens to all tokens: cached keys and values with the computed rows renewed.

    Expects sequences with the selected instead of all image tokens. Every chunk (conditioning) has its own cache and is
    attended to on its own, which needs no copy of the caches.

    Args:
        selections: of every conditioning's batch, all of as many tokens.
        propagations: of every conditioning, move keys and values that are not computed; None leaves them.
    """

    def __init__(
        self,
        caches: list[KVCache],
        only: tuple[int, ...] | None,
        selections: list[Selection],
        propagations: list[Propagation | None],
    ):
        super().__init__(caches, only)
        self.selections, self.propagations = selections, propagations
        self.attended: set[Name] = set()

    def attend(self, name: Name, func: Attention, q, k, v, mask, heads_first: bool) -> torch.Tensor:
        rows, queries = (part.shape[2 if heads_first else 1] for part in (k, q))
        # a model may keep keys of rows in front by itself, of which its blocks are given nothing any more
        kept, others = rows - queries, rows - self.selections[0].count
        # some blocks have a second attention, over the image's argument alone
        before = kept + (self.before if others - kept >= self.before else self.before - self.text)
        # others, as a video's sound, may attend to image tokens alone
        before = before if others else 0
        if not 0 <= before <= others:
            raise LayoutError(f"{k.shape} are keys where {self.selections[0].count} tokens and others were expected")
        self.attended.add(name)
        outputs = []
        batches = *map(self._chunks, (q, k, v)), self._chunk_mask(mask, others, before)
        parts = zip(self.caches, self.selections, self.propagations, *batches, strict=True)
        for cache, selection, propagation, query, key, value, masked in parts:
            with outside_of_traces():
                held = cache.renew(name, *_rows(heads_first, key, value), selection, before, propagation)
            outputs.append(func(query, *_rows(heads_first, *held), masked))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _chunk_mask(self, mask: torch.Tensor | None, others: int, before: int) -> Sequence[torch.Tensor | None]:
        """A mask for every chunk of the batch, with columns for all image tokens, which are masked alike."""
        chosen = self.selections[0]
        if mask is not None and mask.shape[-1] == others + chosen.count:
            image = mask[..., before : before + 1].expand(*mask.shape[:-1], chosen.tokens)
            mask = torch.cat((mask[..., :before], image, mask[..., before + chosen.count :]), -1)
        if mask is None or mask.ndim == 2 or len(mask) == 1:
            return [mask] * len(self.caches)
        return self._chunks(mask)

    def finish(self) -> None:
        """To be called when the model has answered.

        Raises:
            LayoutError: attention that keys and values are kept of was left out.
        """
        if any(self.attended != set(cache.layers) for cache in self.caches):
            raise LayoutError(f"{len(self.attended)} attentions where {len(self.caches[0].layers)} were expected")


def _rows(heads_first: bool, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """[B, heads, L, d] <-> [B, L, heads, d] as views, if heads come first."""
    return tuple(tensor.transpose(1, 2) for tensor in tensors) if heads_first else tensors
