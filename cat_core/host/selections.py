"""Which tokens a step computes: chosen by the conditionings of one latent shape and area together."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from ..algorithm.selection import Selection, Selector
from ..report import Report, Step
from ..settings import CATSettings
from .call import Group
from .conditionings import Conditionings
from .plan import Choice, Choices
from .tokens import TokenGrid, part_of_mask


class Selections:
    """Who chooses tokens, and what was chosen.

    Args:
        settings: the knobs.
        noise_shape: [B, C, ...] of the whole latent.
    """

    def __init__(self, settings: CATSettings, noise_shape: tuple[int, ...]):
        self.settings, self.noise_shape = settings, noise_shape
        self.selectors: dict[Group, Selector] = {}
        self.chosen_at: dict[Group, int] = {}
        """The latest step that a group has chosen tokens for."""
        self.computed: dict[Group, dict[int, tuple[Step, Selection]]] = {}

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
                lead = conditionings.lead(group, step)
                if lead.computed_at >= self.chosen_at.get(group, step):
                    selector.note_refresh()
                self.chosen_at[group] = step
                selection = lead.branch.select(selector, sigma)
                choices[group] = Choice(selection, selector.propagation(selection))
        return MappingProxyType(choices)

    def note_computed(self, step: Step, group: Group, selection: Selection) -> None:
        """For the report: what a group's calls of a step have computed."""
        self.computed.setdefault(group, {}).setdefault(step.number, (step, selection))

    def close(self, report: Report) -> None:
        """Leave with the report what was selected, and from which clusters."""
        # area conditionings have grids of their own, and come in any order: the picture shows the largest
        for group in sorted(self.selectors, key=lambda group: (-self.selectors[group].tokens, group[1] or ())):
            selector = self.selectors[group]
            for step, selection in self.computed.get(group, {}).values():
                if step.selected is None:
                    step.selected = selection.mask().view(-1, *selector.grid).cpu().numpy()
            if report.clusters is None and selector.labels is not None:
                report.clusters = selector.labels.view(-1, *selector.grid).cpu().numpy()

    def clear(self) -> None:
        """Drop every tensor."""
        self.selectors.clear()
        self.computed.clear()
