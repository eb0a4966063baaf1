"""Which steps of a run are computed in full, pruned or not at all."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from enum import Enum
from itertools import pairwise

from ..settings import CATSettings, parse_steps

FEWEST_STEPS = 6
"""Shorter runs are computed in full, unless warm-up steps are chosen."""
SHORT_RUN = 15
"""Runs of at most so many steps take so wide ones that trends say little (docs/quality.md)."""


class StepKind(Enum):
    """What the transformer computes at a step."""

    FULL = "full"
    PRUNED = "pruned"
    IDLE = "idle"


class Schedule:
    """The kind of every step of one run.

    A step is the interval between two neighbouring sigmas, and a model call belongs to the step its sigma falls into:
    samplers that evaluate twice, in between or out of order need no counting.

    Args:
        sigmas: the run's noise levels, one more than steps, falling.
        settings: full steps, warm-up, refresh interval, final steps and keep ratio are used.
    """

    def __init__(self, sigmas: Sequence[float], settings: CATSettings):
        self.sigmas, self.settings = list(sigmas), settings
        self.keep_ratio = settings.keep_ratio
        self.steps = max(len(self.sigmas) - 1, 0)
        self.automatic = not settings.is_chosen
        self.named = [step for step in parse_steps("full_steps", settings.full_steps) if step < self.steps]
        self.warmup = _count_first(self.named) or settings.warmup_steps or automatic_warmup(self.steps)
        self.kinds = self._kinds(settings)

    def _kinds(self, settings: CATSettings) -> list[StepKind]:
        if settings.keep_ratio == 1:
            return [StepKind.FULL] * self.steps
        full = self._full_steps(settings)
        kinds = [StepKind.FULL if step in full else StepKind.IDLE for step in range(self.steps)]
        if settings.selects_tokens:
            for start, end in pairwise([*full, self.steps]):
                for step in _divide(start, end, settings.pruned_interval):
                    kinds[step] = StepKind.PRUNED
        return kinds

    def _full_steps(self, settings: CATSettings) -> list[int]:
        """Their numbers, rising: those that are named, or warm-up, refreshes and the last ones."""
        if self.named:
            return self.named
        final = max(self.steps - settings.final_full_steps, self.warmup - 1)
        refreshes = _divide(self.warmup - 1, final, settings.refresh_interval, longest=True)
        return sorted({*range(self.warmup), *refreshes, *range(final, self.steps)})

    def find_step(self, sigma: float) -> int:
        """Number of the step whose interval (next sigma, sigma] holds ``sigma``; beyond the ends, the end's step."""
        rising = [-start for start in self.sigmas[:-1]]
        tolerance = 1e-6 * abs(sigma)  # a sampler's own arithmetic may miss the schedule's value by a rounding error
        return max(bisect_right(rising, -sigma + tolerance) - 1, 0)

    def reason_against(self) -> str | None:
        """Why this run cannot be pruned at all, or None."""
        if any(high <= low for high, low in zip(self.sigmas, self.sigmas[1:], strict=False)):
            return "its sigmas do not fall from step to step"
        if self.keep_ratio == 1:
            return "keep ratio 1 computes every token"
        if self.automatic and self.steps < FEWEST_STEPS:
            return (
                f"its {self.steps} steps are too few to leave any out (under {FEWEST_STEPS}; warmup_steps can be set)"
            )
        if all(kind is StepKind.FULL for kind in self.kinds):
            return f"its {self.steps} steps are all warm-up, refresh or final steps (warm-up {self.warmup})"
        return None

    def note_on_names(self) -> str | None:
        """What tells that full steps were named for a run of another length: they end early or late, or None."""
        named = parse_steps("full_steps", self.settings.full_steps)
        widest = max((after - before for before, after in pairwise(named)), default=self.steps)
        if not named or named[-1] < self.steps <= named[-1] + widest:
            return None
        return (
            f"full_steps is for another number of steps: it ends with step {named[-1]}, this run with {self.steps - 1}"
        )

    def drop_tokens(self, step: int) -> None:
        """Change what is planned from ``step`` on, which is full then: idle steps in place of pruned ones behind it."""
        changed = Schedule(self.sigmas, self.settings.without_tokens()).kinds
        self.kinds = [*self.kinds[:step], StepKind.FULL, *changed[step + 1 :]][: self.steps]

    def prunes_next(self, step: int) -> bool:
        """Whether the first step after ``step`` that is not idle is a pruned one."""
        return next((kind for kind in self.kinds[step + 1 :] if kind is not StepKind.IDLE), None) is StepKind.PRUNED


def _divide(start: int, end: int, interval: int, longest: bool = False) -> list[int]:
    """Steps that divide the way from ``start`` to ``end`` evenly into parts of about ``interval``, shorter ones first.

    ``longest``: no part is longer than the interval, which may be 0 for no division.
    """
    parts = -((start - end) // interval) if longest and interval else round((end - start) / interval) if interval else 1
    return [start + number * (end - start) // parts for number in range(1, parts)]


def _count_first(steps: Sequence[int]) -> int:
    """How many of rising steps follow each other from 0 on."""
    return sum(1 for place, step in enumerate(steps) if step == place)


def count_whole_steps(sigmas: Sequence[float], levels: Sequence[float]) -> int:
    """How many steps a run over all of a model's noise levels has whose steps are as wide as these.

    So each of two samplers that share a run, and a second pass over a picture, is known for what it is.

    Args:
        sigmas: a run's noise levels, one more than steps.
        levels: the model's noise levels at even times, rising; empty where they are not known.
    """
    steps = max(len(sigmas) - 1, 0)
    if not steps or not levels:
        return steps
    start, end = (bisect_left(levels, sigma) / len(levels) for sigma in (sigmas[0], sigmas[-1]))
    return max(steps, round(steps / (start - end))) if start > end else steps


def is_short(steps: int, settings: CATSettings) -> bool:
    """Whether steps are too wide for settings of longer runs; chosen warm-up steps say that they are meant for them.

    ``steps`` are those of :func:`count_whole_steps`.
    """
    return not settings.is_chosen and steps <= SHORT_RUN


def automatic_warmup(steps: int) -> int:
    """Four steps, the first of which change the picture most; three of a short run, all of one that is too short."""
    if steps < FEWEST_STEPS:
        return steps
    return 3 if steps <= SHORT_RUN else 4
