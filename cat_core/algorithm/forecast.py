"""Noise of tokens that were not computed: held, or continued along their own trend over sigma."""

from __future__ import annotations

import torch


def forecast(
    latest: torch.Tensor,
    latest_sigma: torch.Tensor,
    previous: torch.Tensor,
    previous_sigma: torch.Tensor,
    sigma: float,
    damping: float,
) -> torch.Tensor:
    """Damped extrapolation from each token's own last two computed values.

    A trend over a short stretch of sigma says little about a long one. With r the reach of the forecast over the
    stretch that the trend was seen on, the token follows its trend by r / (1 + r) instead of r: nearly all of it
    nearby, never further than once more the last change.

    Args:
        latest, previous: noise tokens [B, N, d].
        latest_sigma, previous_sigma: sigma [B, N, 1] at which each token's value was computed.
        sigma: noise level to forecast for.
        damping: 0 returns ``latest``, 1 is the undiminished r / (1 + r).

    A token whose two values come from the same sigma has no trend and is held.
    """
    if damping == 0:
        return latest
    stretch = latest_sigma - previous_sigma
    known = stretch.abs() > 1e-6
    reach = torch.where(known, (sigma - latest_sigma) / torch.where(known, stretch, torch.ones_like(stretch)), 0.0)
    return latest + damping * (reach / (1 + reach.abs())) * (latest - previous)
