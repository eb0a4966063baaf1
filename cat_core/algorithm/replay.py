"""Tries settings on a recorded run: what the method would have answered there, without the model.

The latent is held to the recorded one at every step, and what keys and values of skipped tokens would have changed is
left out. So the errors are not those of a picture; settings are put into order by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..settings import CATSettings
from .branch import Branch
from .schedule import Schedule, StepKind
from .selection import Selector


@dataclass(frozen=True)
class Recording:
    """A run that was computed in full.

    Attributes:
        sigmas: its noise levels, one more than steps, falling.
        latents: before every step, as tokens [B, N, d].
        denoised: the model's answers, as many, of the same shape.
        grid: (frames,) rows and columns of tokens.
    """

    sigmas: Sequence[float]
    latents: Sequence[torch.Tensor]
    denoised: Sequence[torch.Tensor]
    grid: tuple[int, ...]


def replay(recording: Recording, settings: CATSettings) -> float:
    """How far settings lead the latent away on its way, as root of the mean square over steps, relative to the result.

    A step from ``sigma`` to ``after`` adds (1 / after - 1 / sigma) times its answer to x / sigma (Euler's; to first order
    every sampler's): what the answers err sums up to what the latent errs. All of the way counts, not its end alone: what
    a full step answers to a latent that errs is another answer, which a recording does not have.
    """
    schedule = Schedule(recording.sigmas, settings)
    branch, selector = Branch(settings), Selector(settings, recording.grid)
    error, squares = torch.zeros_like(recording.latents[0]), recording.latents[0].new_zeros(())
    steps = zip(
        schedule.kinds, recording.sigmas, recording.sigmas[1:], recording.latents, recording.denoised, strict=False
    )
    for kind, sigma, after, x, denoised in steps:
        if kind is StepKind.FULL:
            given = branch.answer_full(x, denoised, sigma, after)
            selector.note_refresh()
        elif kind is StepKind.PRUNED:
            selection = branch.select(selector, sigma)
            given = branch.answer_pruned(x, denoised, sigma, after, selection, selector.propagation(selection))
        else:
            given = branch.answer_idle(x, sigma, after)
        if after > 0:
            error += (1 / after - 1 / sigma) * (given - denoised)
        # the last answer is the result
        squares += (after * error if after > 0 else given - denoised).square().sum()
    return (squares / len(schedule.kinds)).sqrt().item() / recording.denoised[-1].norm().item()
