"""How many rows of which kind a call has: what its cost and its caches are counted by."""

from __future__ import annotations

from dataclasses import dataclass

from ..report import Call
from .architecture.family import Family
from .call import ModelCall


@dataclass(frozen=True)
class Rows:
    """Of one sample of a call: image tokens, other tokens (text), and rows that are computed as image tokens are."""

    tokens: int
    others: int
    beside: int

    def report(self, call: ModelCall, computed: int | None) -> list[Call]:
        """A line of the report for each conditioning of a call; ``computed`` None for all tokens."""
        computed, samples = self.tokens if computed is None else computed, len(call.x) // len(call.keys)
        return [Call(samples, self.tokens, computed, self.others, self.beside) for _ in call.keys]


def count_rows(family: Family | None, call: ModelCall, tokens: int) -> Rows:
    """Of a call whose latents have so many image tokens."""
    text = 0 if call.context is None else call.context.shape[1]
    if family is None:
        return Rows(tokens, text, 0)
    others = family.other_tokens(call.transformer, text, call.extra)
    return Rows(tokens, others, family.beside(call.transformer, tokens, call.extra))
