"""What forecasts got wrong, made good at the next computed step: the corrector of a predictor-corrector method."""

from __future__ import annotations

import torch


class Corrector:
    """Accounts for each token's forecasts since its last computation, for one conditioning.

    A step from sigma to the next sigma adds w * D to x / sigma, with D the denoised latent and w = 1 / next sigma -
    1 / sigma (Euler's step; to first order every sampler's). When a token is computed again, D in between is known much
    better than it was forecast: it lies on the line between the two computed values. The sum of w * (line - forecast)
    is what x / sigma lacks, and the sampler is handed it together with the step's own D.

    Args:
        denoised: tokens [B, N, d] of a full step.
        sigma: that step's noise level.
        share: of what is lacking that is handed over, 0..1.
    """

    def __init__(self, denoised: torch.Tensor, sigma: float, share: float):
        self.share = share
        self.latest = denoised
        self.latest_sigma = torch.full_like(denoised[..., :1], sigma)
        self.owed = torch.zeros_like(denoised)  # sum of w * (forecast - latest)
        self.moment = torch.zeros_like(self.latest_sigma)  # sum of w * (sigma - latest sigma)

    def settle(self, denoised: torch.Tensor, sigma: float, weight: float, computed: torch.Tensor) -> torch.Tensor:
        """Correct the tokens that this step computed, and take account of its forecasts.

        Args:
            denoised: tokens [B, N, d], computed or forecast.
            sigma: noise level of the step.
            weight: the step's w.
            computed: bool, [B, N, 1] or [1]: which tokens the step computed.

        Returns:
            What the sampler is to be given, [B, N, d].
        """
        moved, distance = denoised - self.latest, sigma - self.latest_sigma
        known = distance.abs() > 1e-6
        slope = moved / torch.where(known, distance, torch.ones_like(distance))
        correction = torch.where(known, self.moment * slope - self.owed, 0.0) * (self.share / weight)
        self.owed = torch.where(computed, 0.0, self.owed + weight * moved)
        self.moment = torch.where(computed, 0.0, self.moment + weight * distance)
        self.latest = torch.where(computed, denoised, self.latest)
        self.latest_sigma = torch.where(computed, sigma, self.latest_sigma)
        return torch.where(computed, denoised + correction, denoised)

    def move(self, device: torch.device) -> None:
        """To where the conditioning is evaluated from now on."""
        self.latest, self.latest_sigma = self.latest.to(device), self.latest_sigma.to(device)
        self.owed, self.moment = self.owed.to(device), self.moment.to(device)

    @property
    def bytes(self) -> int:
        """Memory held."""
        return sum(t.nbytes for t in (self.latest, self.latest_sigma, self.owed, self.moment))
