"""Last computed noise of every token."""

from __future__ import annotations

import torch

from .forecast import forecast


class NoiseCache:
    """The last two computed noise values of every token of one conditioning, with the sigmas they belong to.

    Args:
        noise: tokens [B, N, d] of a full step.
        sigma: that step's noise level.
    """

    def __init__(self, noise: torch.Tensor, sigma: float):
        self.latest = self.previous = noise
        self.latest_sigma = self.previous_sigma = torch.full_like(noise[..., :1], sigma)

    def update(self, noise: torch.Tensor, sigma: float, mask: torch.Tensor | None = None) -> None:
        """Take over newly computed tokens: all of them, or those under ``mask`` [B, N, 1].

        A value for the sigma that a token already has (a sampler's second evaluation) replaces it and keeps its trend.
        """
        fresh = (self.latest_sigma - sigma).abs() > 1e-6
        computed = torch.ones_like(fresh) if mask is None else mask
        moved = fresh & computed
        self.previous = torch.where(moved, self.latest, self.previous)
        self.previous_sigma = torch.where(moved, self.latest_sigma, self.previous_sigma)
        self.latest = torch.where(computed, noise, self.latest)
        self.latest_sigma = torch.where(computed, sigma, self.latest_sigma)

    def at(self, sigma: float, damping: float) -> torch.Tensor:
        """Forecast of all tokens for ``sigma``, see :func:`cat_core.algorithm.forecast.forecast`."""
        return forecast(self.latest, self.latest_sigma, self.previous, self.previous_sigma, sigma, damping)

    def move(self, device: torch.device) -> None:
        """To where the conditioning is evaluated from now on."""
        self.latest, self.latest_sigma = self.latest.to(device), self.latest_sigma.to(device)
        self.previous, self.previous_sigma = self.previous.to(device), self.previous_sigma.to(device)

    @property
    def bytes(self) -> int:
        """Memory held."""
        return 2 * (self.latest.nbytes + self.latest_sigma.nbytes)
