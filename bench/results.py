"""The measured rows of one target (sampler and steps) as arrays, and the figures that tables and curves show."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bench.records import Row
from bench.statistics import Interval, difference_at_equal_cost, mean_interval

NUMBERS = ("cost", "psnr", "ssim", "haarpsi", "latent_error")


class Results:
    """All methods for one target.

    Args:
        rows: of one sampler and number of target steps; at most one per prompt, seed and method.
    """

    def __init__(self, rows: Iterable[Row]):
        rows = list(rows)
        self.pairs = sorted({(row.prompt, row.seed) for row in rows})
        self.prompts = np.array([prompt for prompt, _ in self.pairs])
        self.group = {row.method: row.group for row in rows}
        place = {pair: i for i, pair in enumerate(self.pairs)}
        blank = np.full(len(self.pairs), np.nan)
        self.values = {method: {name: blank.copy() for name in NUMBERS} for method in self.group}
        for row in rows:
            for name in NUMBERS:
                self.values[row.method][name][place[row.prompt, row.seed]] = getattr(row, name)

    def methods(self, group: str) -> list[str]:
        """Names of a group's methods, in the order of the rows."""
        return [method for method, of in self.group.items() if of == group]

    def mean(self, method: str, name: str) -> Interval:
        """Mean of one of :data:`NUMBERS` over all prompts and seeds."""
        return mean_interval(self.values[method][name], self.prompts)

    def difference(self, method: str, group: str, name: str) -> Interval:
        """Paired difference of a metric to the curve of another group at the method's own cost."""
        rivals = [rival for rival in self.methods(group) if rival != method]
        if not rivals:
            return Interval(np.nan, np.nan, 0)
        costs, curves = (np.stack([self.values[rival][of] for rival in rivals], -1) for of in ("cost", name))
        values = self.values[method]
        return mean_interval(difference_at_equal_cost(values["cost"], values[name], costs, curves), self.prompts)

    def plain_difference(self, method: str, rival: str, name: str) -> Interval:
        """Paired difference of a metric to another method, each at its own cost."""
        return mean_interval(self.values[method][name] - self.values[rival][name], self.prompts)

    def curve(self, group: str, name: str) -> list[tuple[float, Interval]]:
        """(mean cost, metric) of a group's methods, by rising cost."""
        points = [(self.mean(method, "cost").mean, self.mean(method, name)) for method in self.methods(group)]
        return sorted(points, key=lambda point: point[0])


def by_target(rows: Iterable[Row]) -> dict[tuple[str, int], Results]:
    """Results for every (sampler, target steps), in the order of the rows."""
    split: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        split.setdefault((row.sampler, row.target_steps), []).append(row)
    return {target: Results(part) for target, part in split.items()}
