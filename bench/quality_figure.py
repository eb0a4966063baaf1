"""Cost-quality curves of one target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.methods import ALONE, BETWEEN, FEWER, LAZY, OURS, PUBLISHED
from bench.results import Results

# Colours that stay apart for colour-blind readers (Okabe and Ito), and markers that do so in print.
STYLES = {
    FEWER: ("#000000", "o"),
    LAZY: ("#e69f00", "s"),
    ALONE: ("#56b4e9", "^"),
    BETWEEN: ("#0072b2", "v"),
    OURS: ("#d55e00", "*"),
    PUBLISHED: ("#cc79a7", "X"),
}
LINES = (FEWER, LAZY, ALONE, BETWEEN)
MOST_COST = 0.95
"""Beyond it pictures are all but identical; their PSNR would flatten everything else."""


def save_figure(path: Path, results: Results, title: str) -> None:
    """Draw mean PSNR over cost, and beside it the paired difference to fewer steps of equal cost, as SVG."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    for group in STYLES:
        _draw_means(left, results, group)
        _draw_differences(right, results, group)
    left.set(ylabel="PSNR to the un-accelerated picture, dB")
    right.set(ylabel="PSNR above fewer steps of equal cost, dB")
    right.axhline(0, color=STYLES[FEWER][0], linewidth=1)
    for axes in (left, right):
        axes.set(xlabel="cost: MACs over the un-accelerated run's")
        axes.grid(alpha=0.3)
    left.legend(fontsize="small")
    # without date and random ids the same numbers give the same file; text stays text
    with mpl.rc_context({"svg.hashsalt": "quality", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})


def _draw_means(axes: Axes, results: Results, group: str) -> None:
    points = [(cost, value.mean, value.half) for cost, value in results.curve(group, "psnr")]
    _draw(axes, points, group)


def _draw_differences(axes: Axes, results: Results, group: str) -> None:
    if group == FEWER:
        return
    points = []
    for method in results.methods(group):
        difference = results.difference(method, FEWER, "psnr")
        # a mean over a part of the pictures says nothing about the others
        if 2 * difference.count > len(results.pairs):
            points.append((results.mean(method, "cost").mean, difference.mean, difference.half))
    _draw(axes, sorted(points), group)


def _draw(axes: Axes, points: list[tuple[float, float, float]], group: str) -> None:
    """``points`` are (cost, value, half the interval's width)."""
    points = [point for point in points if point[0] <= MOST_COST]
    if not points:
        return
    costs, values, halves = np.array(points).T
    colour, marker = STYLES[group]
    line = "-" if group in LINES else "none"
    size = 11 if marker == "*" else 6
    look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": size, "linestyle": line, "capsize": 2}
    axes.errorbar(costs, values, np.nan_to_num(halves), label=group, **look)
