"""What a run remembers of every conditioning, and the tokens that they choose together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from ..algorithm.corrector import Corrector
from ..algorithm.selection import Selection, Selector
from ..caching.kv import KVCache
from ..caching.noise import NoiseCache
from ..report import Report, Step
from ..settings import CATSettings
from .call import Area, Key, described
from .tokens import TokenGrid, part_of_mask

Group = tuple[tuple[int, ...], Area | None]
"""Conditionings of one latent shape and area: they choose tokens together."""


@dataclass
class Branch:
    """What is remembered of one conditioning."""

    grid: TokenGrid
    kv: KVCache
    group: Group
    positive: bool
    noise: NoiseCache | None = None
    reference: torch.Tensor | None = None
    """Noise before the latest full step, which change is measured against."""
    corrector: Corrector | None = None
    context_shape: tuple[int, ...] | None = None
    computed_at: int = 0
    """The latest full step."""
    called_at: int = 0
    """The latest step that had it."""

    @property
    def bytes(self) -> int:
        """Memory held."""
        return self.kv.bytes + sum(cache.bytes for cache in (self.noise, self.corrector) if cache)


class Branches(dict[Key, Branch]):
    """All conditionings of a run by their keys; who chooses tokens for them, and what was chosen.

    Args:
        settings: the knobs.
        patch: latent frames, rows and columns of an image token.
        guider: the host's guider, which knows the conditionings.
        noise_shape: [B, C, (T,) H, W] of the whole latent.
    """

    def __init__(self, settings: CATSettings, patch: tuple[int, int, int], guider: Any, noise_shape: tuple[int, ...]):
        super().__init__()
        self.settings, self.patch = settings, patch
        self.guider, self.noise_shape = guider, noise_shape
        self.selectors: dict[Group, Selector] = {}
        self.selections: dict[Group, Selection] = {}
        self.masks: list[tuple[Step, Selection, TokenGrid]] = []

    @property
    def bytes(self) -> int:
        """Memory held."""
        return sum(branch.bytes for branch in self.values())

    def grid(self, key: Key) -> TokenGrid:
        """The grid of a conditioning's tokens."""
        return TokenGrid(key[2][2:], self.patch)

    def add(self, key: Key, cache: KVCache, step: int) -> Branch:
        """Begin to remember a conditioning that is called at ``step`` first."""
        name, area = described(self.guider, key[0])
        positive = key[1] == 0 if name is None else name == "positive"
        group = key[2], area
        self[key] = Branch(self.grid(key), cache, group, positive, called_at=step)
        if group not in self.selectors:
            self._add_selector(group, self[key].grid)
        return self[key]

    def _add_selector(self, group: Group, grid: TokenGrid) -> None:
        settings, (_, area) = self.settings, group
        if area and settings.focus_mask is not None:
            settings = replace(settings, focus_mask=part_of_mask(settings.focus_mask, area, self.noise_shape))
        self.selectors[group] = Selector(settings, grid.shape)
        # parts of one size may share a call
        alike = [selector for selector in self.selectors.values() if selector.grid == grid.shape]
        for selector in alike:
            selector.count = max(other.count for other in alike)

    def next_step(self) -> None:
        """Forget what the last step selected."""
        self.selections.clear()

    def refreshed(self, branches: list[Branch], step: int) -> None:
        """All tokens of these were computed at ``step``."""
        for branch in branches:
            # who chooses the tokens knows whether they are stale
            if branch is self._lead(branch.group, step):
                self.selectors[branch.group].refreshed()

    def _lead(self, group: Group, step: int) -> Branch:
        """The conditioning that chooses the tokens: a positive one, but none that ended before the last step."""
        branches = [branch for branch in self.values() if branch.group == group]
        return max(branches, key=lambda b: (b.called_at >= step - 1, b.positive, b.called_at))

    def selection(self, group: Group, step: Step, sigma: float) -> Selection:
        """A group's selection of this step; ``sigma`` is the noise level that it is made at."""
        if group not in self.selections:
            lead = self._lead(group, step.number)
            assert lead.noise is not None
            assert lead.reference is not None
            noise = lead.noise.at(sigma, self.settings.forecast)
            self.selections[group] = self.selectors[group].select(noise, lead.reference)
            self.masks.append((step, self.selections[group], lead.grid))
        return self.selections[group]

    def close(self, report: Report) -> None:
        """Leave what was selected, and from which clusters, with the report, and drop every tensor."""
        for step, selection, grid in self.masks:
            # area conditionings have grids of their own: the picture shows the first
            if step.selected is None:
                step.selected = selection.mask().view(-1, *grid.shape).cpu().numpy()
        for selector in list(self.selectors.values())[:1]:
            if selector.labels is not None:
                report.clusters = selector.labels.view(-1, *selector.grid).cpu().numpy()
        self.masks.clear()
        for store in (self, self.selectors, self.selections):
            store.clear()
