"""How many rows of which kind a call has: what its cost and its caches are counted by."""

from __future__ import annotations

from dataclasses import dataclass

from ..report import Call
from .architecture.family import Family
from .call import ModelCall


@dataclass(frozen=True)
class Rows:
    """Of one sample of a call: image tokens, other tokens (text), rows that are computed as image tokens are, and
    companions, which are tokens of another latent.
    """

    tokens: int
    others: int
    beside: int = 0
    companions: int = 0

    def report(self, call: ModelCall, computed: int | None) -> list[Call]:
        """A line of the report for each conditioning of a call; ``computed`` None for all tokens."""
        computed, samples = self.tokens if computed is None else computed, len(call.x) // len(call.keys)
        rows = self.tokens, computed, self.others, self.beside, self.companions
        return [Call(samples, *rows) for _ in call.keys]


def count_rows(family: Family | None, call: ModelCall, tokens: int) -> Rows:
    """Of a call whose latents have so many image tokens."""
    text = 0 if call.context is None else call.context.shape[1]
    if family is None:
        return Rows(tokens, text)
    others = family.other_tokens(call.transformer, text, call.extra)
    beside = family.beside(call.transformer, tokens, call.extra)
    return Rows(tokens, others, beside, family.companions(call.transformer, call.extra))
