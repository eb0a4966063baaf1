"""What one evaluation of the sampler is to do, decided before its calls."""

from __future__ import annotations

from dataclasses import dataclass

from ..algorithm.schedule import StepKind
from ..report import Step
from .selections import Choices


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
