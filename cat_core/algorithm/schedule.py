"""Which steps of a run are computed in full, pruned or not at all."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from enum import Enum

from ..settings import CATSettings


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
        settings: warm-up, refresh interval, final steps and keep ratio are used.
    """

    def __init__(self, sigmas: Sequence[float], settings: CATSettings):
        self.sigmas = list(sigmas)
        self.keep_ratio = settings.keep_ratio
        self.steps = max(len(self.sigmas) - 1, 0)
        self.warmup = settings.warmup_steps or automatic_warmup(self.steps)
        full = set(range(self.steps)) if settings.keep_ratio == 1 else self._full_steps(settings)
        between = StepKind.PRUNED if settings.keep_ratio > 0 else StepKind.IDLE
        self.kinds = [StepKind.FULL if step in full else between for step in range(self.steps)]

    def _full_steps(self, settings: CATSettings) -> set[int]:
        """Warm-up, final steps, and refreshes in even distances between them, none longer than the interval."""
        last_of_warmup, final = self.warmup - 1, self.steps - settings.final_full_steps
        distance = final - last_of_warmup
        steps = {*range(self.warmup), *range(max(final, 0), self.steps)}
        if settings.refresh_interval and distance > 0:
            stretches = -(-distance // settings.refresh_interval)
            steps |= {last_of_warmup + number * distance // stretches for number in range(1, stretches)}
        return steps

    def step(self, sigma: float) -> int:
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
        if all(kind is StepKind.FULL for kind in self.kinds):
            return f"its {self.steps} steps are all warm-up, refresh or final steps (warm-up {self.warmup})"
        return None

    def next_is(self, step: int, kind: StepKind) -> bool:
        """Whether the step after ``step`` is of this kind."""
        return step + 1 < self.steps and self.kinds[step + 1] is kind


def automatic_warmup(steps: int) -> int:
    """Five steps, fewer for short runs: the first five of 28 change the picture most (docs/quality.md)."""
    return min(5, max(2, round(steps * 5 / 28)))
