"""Other ways to choose tokens, to see what CAT Pruning's own ranking is worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch

from cat_core.algorithm.selection import Selector


class RandomSelector(Selector):
    """Chooses by chance, other tokens at every step; the same ones in every run."""

    _drawn = 0

    def _priority(self, change, labels, frequency, first: bool) -> torch.Tensor:
        self._drawn += 1
        generator = torch.Generator().manual_seed(self._drawn)
        return torch.rand(labels.shape, generator=generator).to(labels.device)


class TurnSelector(Selector):
    """Chooses the tokens that were chosen least lately, whatever they do: staleness alone."""

    def note_refresh(self) -> None:
        """Turns go on over refreshes, after which otherwise all tokens would be equally stale."""

    def _priority(self, change, labels, frequency, first: bool) -> torch.Tensor:
        return 1 / (1 + frequency)


SELECTORS = {"random tokens": RandomSelector, "tokens in turn": TurnSelector}


@contextmanager
def choose_by(name: str | None) -> Iterator[None]:
    """Runs in this context choose tokens by a key of :data:`SELECTORS`; None changes nothing."""
    if name is None:
        yield
        return
    with patch("cat_core.host.selections.Selector", SELECTORS[name]):
        yield
