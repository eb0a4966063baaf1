"""What the sampler has asked for so far, and whether it is one latent at falling noise levels."""

from __future__ import annotations

from collections import Counter

from ..algorithm.schedule import Schedule
from ..algorithm.solver import Solver

NEAR = 1e-3
"""Noise levels that differ by this share are the same: some samplers move the first one a little."""


class Evaluations:
    """Of one run.

    Args:
        schedule: of the run.
        solver: what its sampler is known to do.
        noise_shape: [B, C, ...] of the run's latent.

    Attributes:
        number: of the step that the latest evaluation belongs to.
        correcting: whether each evaluation was a step's only one, at its own noise level: only then it is known what a
            forecast contributed.
    """

    def __init__(self, schedule: Schedule, solver: Solver, noise_shape: tuple[int, ...]):
        self.schedule, self.solver, self.noise_shape = schedule, solver, noise_shape
        self.number, self.correcting = -1, True
        self.times: Counter[str] = Counter()

    def begin(self, sigma: float, shape: tuple[int, ...]) -> str | None:
        """One more, of a latent of a ``shape`` at a noise level: why it is not of the run's own latent, or None."""
        number, level = self.schedule.find_step(sigma), f"{sigma:.6g}"
        self.times[level] += 1
        own = self.schedule.sigmas[number]
        self.correcting &= number > self.number and abs(sigma - own) <= NEAR * own
        self.number = number
        if shape != self.noise_shape:
            return "the latent is evaluated in parts, or in another shape than the run's (tiles do this)"
        if self.times[level] > self.solver.evaluations:
            return (
                "a noise level is evaluated more often than the sampler does by itself (guides, inner steps and tiles "
                "do this)"
            )
        return None

    @property
    def warming_up(self) -> bool:
        """Whether fewer evaluations than warm-up steps are done: noise levels that nodes change may pass these by."""
        return self.times.total() <= self.schedule.warmup
