"""Which tokens a step computes: chosen by the conditionings of one latent shape and area together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType

from ..algorithm.clustering import Propagation
from ..algorithm.selection import Selection, Selector
from ..report import Report, Step
from ..settings import CATSettings
from .conditionings import Conditionings, Group
from .tokens import TokenGrid, part_of_mask


@dataclass(frozen=True)
class Choice:
    """A group's tokens of one step, and what carries their change to the others, None if nothing does."""

    selection: Selection
    propagation: Propagation | None


Choices = MappingProxyType[Group, Choice]
NONE: Choices = MappingProxyType({})


class Selections:
    """Who chooses tokens, and what was chosen.

    Args:
        settings: the knobs.
        noise_shape: [B, C, ...] of the whole latent.
    """

    def __init__(self, settings: CATSettings, noise_shape: tuple[int, ...]):
        self.settings, self.noise_shape = settings, noise_shape
        self.selectors: dict[Group, Selector] = {}
        self.computed: dict[tuple[int, Group], tuple[Step, Selection, TokenGrid]] = {}

    def add(self, group: Group, grid: TokenGrid) -> None:
        """A conditioning of a group is computed for the first time."""
        if group in self.selectors:
            return
        settings, (_, area) = self.settings, group
        if area and settings.focus_mask is not None:
            settings = replace(settings, focus_mask=part_of_mask(settings.focus_mask, area, self.noise_shape))
        self.selectors[group] = Selector(settings, grid.shape)
        # parts of one size may share a call
        alike = [selector for selector in self.selectors.values() if selector.grid == grid.shape]
        for selector in alike:
            selector.count = max(other.count for other in alike)

    def choose(self, conditionings: Conditionings, step: int, sigma: float, chosen: Choices) -> Choices:
        """The tokens of a step at the noise level ``sigma``, of every group that has kept keys and values.

        Groups of ``chosen`` stay as they are: one may be met at the first of a step's evaluations.
        """
        choices = dict(chosen)
        for group, selector in self.selectors.items():
            if group not in choices and conditionings.hold_caches(group):
                branch = conditionings.lead(group, step).branch
                selection = branch.select(selector, sigma)
                choices[group] = Choice(selection, selector.propagation(selection))
        return MappingProxyType(choices)

    def note_computed(self, step: Step, group: Group, selection: Selection, grid: TokenGrid) -> None:
        """For the report: what a group's calls of a step have computed."""
        self.computed.setdefault((step.number, group), (step, selection, grid))

    def close(self, report: Report) -> None:
        """Leave with the report what was selected, and from which clusters."""
        for step, selection, grid in self.computed.values():
            # area conditionings have grids of their own: the picture shows the first
            if step.selected is None:
                step.selected = selection.mask().view(-1, *grid.shape).cpu().numpy()
        for selector in list(self.selectors.values())[:1]:
            if selector.labels is not None:
                report.clusters = selector.labels.view(-1, *selector.grid).cpu().numpy()

    def clear(self) -> None:
        """Drop every tensor."""
        self.selectors.clear()
        self.computed.clear()
