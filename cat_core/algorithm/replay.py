"""Tries idle steps on a recorded run: what the method would have answered there, without the model.

The latent is held to the recorded one at every step. So the errors are not those of a picture, but they put settings
into the order that real runs have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..settings import CATSettings
from .branch import Branch
from .schedule import Schedule, StepKind


@dataclass(frozen=True)
class Recording:
    """A run that was computed in full.

    Attributes:
        sigmas: its noise levels, one more than steps, falling.
        latents: before every step, as tokens [B, N, d]; some of them may stand for all.
        denoised: the model's answers, as many, of the same shape.
    """

    sigmas: Sequence[float]
    latents: Sequence[torch.Tensor]
    denoised: Sequence[torch.Tensor]


def replay(recording: Recording, settings: CATSettings) -> float:
    """How far the idle steps of ``settings`` lead the latent away: root of the mean square over the steps, relative.

    A step from ``sigma`` to ``after`` adds (1 / after - 1 / sigma) times its answer to x / sigma (Euler's; to first
    order every sampler's): what the answers err sums up to what the latent errs. All of the way counts, not its end
    alone: a full step answers otherwise to a latent that errs, and how is not in the recording.
    """
    schedule, branch = Schedule(recording.sigmas, settings), Branch(settings)
    error, squares = torch.zeros_like(recording.latents[0]), recording.latents[0].new_zeros(())
    steps = zip(
        schedule.kinds, recording.sigmas, recording.sigmas[1:], recording.latents, recording.denoised, strict=False
    )
    for kind, sigma, after, x, denoised in steps:
        full = kind is StepKind.FULL
        given = branch.answer_full(x, denoised, sigma, after) if full else branch.answer_idle(x, sigma, after)
        if after > 0:
            error += (1 / after - 1 / sigma) * (given - denoised)
        # the last answer is the result
        squares += (after * error if after > 0 else given - denoised).square().sum()
    return (squares / len(schedule.kinds)).sqrt().item() / recording.denoised[-1].norm().item()
