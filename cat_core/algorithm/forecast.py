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
    """Damped linear extrapolation from each token's own last two computed values.

    Args:
        latest, previous: noise tokens [B, N, d].
        latest_sigma, previous_sigma: sigma [B, N, 1] at which each token's value was computed.
        sigma: noise level to forecast for.
        damping: 0 returns ``latest``, 1 extrapolates fully.

    A token whose two values come from the same sigma has no trend and is held.
    """
    if damping == 0:
        return latest
    gap = latest_sigma - previous_sigma
    known = gap.abs() > 1e-6
    step = torch.where(known, (sigma - latest_sigma) / torch.where(known, gap, torch.ones_like(gap)), 0.0)
    return latest + damping * step * (latest - previous)
