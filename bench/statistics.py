"""Paired statistics: prompts differ far more than methods, so methods are compared on the same prompt and seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as students_t

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % confidence interval.

    Attributes:
        mean: NaN where there is nothing to average.
        half: half the interval's width; NaN for fewer than two groups.
        count: number of values averaged.
    """

    mean: float
    half: float
    count: int

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.mean - self.half


def mean_interval(values: np.ndarray, groups: np.ndarray) -> Interval:
    """Mean of ``values`` [n] over groups (prompts), each the mean of its own values (seeds).

    Values of one prompt are alike, so they count as one observation of the interval: Student's t with one degree of
    freedom less than there are groups. NaNs are left out.

    Args:
        groups: [n] the group of each value, of any comparable type.
    """
    known = ~np.isnan(values)
    means = np.array([values[known & (groups == group)].mean() for group in np.unique(groups[known])])
    if len(means) == 0:
        return Interval(np.nan, np.nan, 0)
    half = np.nan
    if len(means) > 1:
        quantile = students_t.ppf(0.5 + CONFIDENCE / 2, len(means) - 1)
        half = float(quantile * means.std(ddof=1) / np.sqrt(len(means)))
    return Interval(float(means.mean()), half, int(known.sum()))


def at_cost(cost: float, costs: np.ndarray, values: np.ndarray) -> float:
    """A curve's value at ``cost``, on straight lines between its points ``costs`` [m], ``values`` [m] in any order.

    Points of equal cost are averaged, NaNs left out. Outside the points there is no value: NaN.
    """
    known = ~(np.isnan(costs) | np.isnan(values))
    if not known.any():
        return np.nan
    places, which = np.unique(costs[known], return_inverse=True)
    means = np.bincount(which, values[known]) / np.bincount(which)
    return float(np.interp(cost, places, means, left=np.nan, right=np.nan))


def difference_at_equal_cost(cost: np.ndarray, values: np.ndarray, costs: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """How far a method lies above a rival's curve at the method's own cost, pair by pair.

    Args:
        cost, values: [n] of the method, one per prompt and seed.
        costs, curves: [n, m] the rival's points for the same prompts and seeds.

    Returns:
        [n], NaN where the rival has no point on both sides.
    """
    rivals = [at_cost(*pair) for pair in zip(cost, costs, curves, strict=True)]
    return values - np.array(rivals)
