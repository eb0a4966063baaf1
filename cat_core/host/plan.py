"""What one evaluation of the sampler is to do, decided before its calls."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import torch

from ..algorithm.clustering import Propagation
from ..algorithm.schedule import StepKind
from ..algorithm.selection import Selection
from ..report import Step
from .call import Group


@dataclass(frozen=True)
class Choice:
    """A group's tokens of one step, and what carries their change to the others, None if nothing does."""

    selection: Selection
    propagation: Propagation | None

    def on(self, device: torch.device) -> Choice:
        """The same where a conditioning is evaluated, a copy if that is another device than its leader's."""
        if self.selection.indices.device == device:
            return self
        return Choice(self.selection.to(device), self.propagation and self.propagation.to(device))


Choices = MappingProxyType[Group, Choice]
NONE: Choices = MappingProxyType({})


@dataclass(frozen=True)
class Plan:
    """Read by all calls of an evaluation, in whatever order and thread they come.

    Attributes:
        step: the step it belongs to, as it is reported.
        kind: what is computed at the step.
        sigma: the noise level that is asked for.
        after: that of the next step; 0 where forecasts are not corrected.
        choices: which tokens a pruned step computes, by group.
    """

    step: Step
    kind: StepKind
    sigma: float
    after: float
    choices: Choices
