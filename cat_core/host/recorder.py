"""Keeps a run's latents and the model's answers, of some of its tokens, for :mod:`cat_core.algorithm.replay`."""

from __future__ import annotations

from typing import Any

import torch

from ..algorithm.replay import Recording

ROWS = 256
"""Places that are kept: at idle steps each follows its own trend, so some stand for all."""
NEAR = 1e-3
"""Noise levels that differ by this share are the same."""


class Recorder:
    """A PREDICT_NOISE wrapper (``comfy/patcher_extension.py``) for one run.

    Args:
        sigmas: the run's noise levels, one more than steps.
    """

    def __init__(self, sigmas: list[float]):
        self.sigmas = sigmas
        self.kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __call__(self, executor: Any, x: torch.Tensor, timestep: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """``x`` [B, C, ...]; the first evaluation at a step's own noise level is kept."""
        denoised = executor(x, timestep, *args, **kwargs)
        sigma = timestep.flatten()[0].item()
        step = next((i for i, own in enumerate(self.sigmas[:-1]) if abs(own - sigma) <= NEAR * own), None)
        if step is not None:
            self.kept.setdefault(step, (_thin_out(x), _thin_out(denoised)))
        return denoised

    def recording(self) -> Recording | None:
        """All of the run, or None where a step was not evaluated at its own noise level."""
        if len(self.kept) < len(self.sigmas) - 1:
            return None
        pairs = [self.kept[step] for step in range(len(self.sigmas) - 1)]
        return Recording(self.sigmas, [x for x, _ in pairs], [denoised for _, denoised in pairs])


def _thin_out(latent: torch.Tensor) -> torch.Tensor:
    """[B, C, ...] -> [1, at most ROWS, C] float32 on the CPU, of the first picture; always of the same places."""
    places = latent[0].flatten(1).mT
    rows = torch.randperm(len(places), generator=torch.Generator().manual_seed(0))[:ROWS].sort().values
    return places[rows.to(latent.device)].float().cpu().unsqueeze(0)
