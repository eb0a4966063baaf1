"""Draws a report: what every step cost, which tokens the pruned ones computed, and the clusters."""

from __future__ import annotations

import colorsys
import math

import numpy as np

from .report import Report, Step

COLOURS = {
    "full": (0.30, 0.62, 0.95),
    "pruned": (0.98, 0.72, 0.22),
    "idle": (0.45, 0.45, 0.48),
    "skipped": (0.25, 0.25, 0.27),
}
BACKGROUND = 0.08
GAP, BAR = 6, 72
LONGER_SIDE = 128
FEWEST = 3
"""Tiles side by side: as few as fit, so that they can be told apart at a node's width."""


def draw(report: Report) -> np.ndarray:
    """Picture of a run: float32 [H, W, 3] in 0..1.

    On top a bar a step, as high as what it computed: blue full, amber pruned, grey idle or left out. Below a tile for
    every pruned step, in order, over a preview of the picture (the first of a batch, the middle frame of a video):
    computed tokens are bright and tinted, others dark, lines are cluster borders. Last a tile of the clusters, if there
    are any. Steps on a grid of another size show no tokens.
    """
    grid = next((step.selected.shape[-2:] for step in report.steps if step.selected is not None), None)
    rows, columns = grid or (report.preview.shape[:2] if report.preview is not None else (32, 32))
    cell = max(1, LONGER_SIDE // max(rows, columns))
    size = rows * cell, columns * cell
    ground = None if report.preview is None else _resize(report.preview, size)
    labels = None
    if report.clusters is not None and report.clusters.shape[-2:] == (rows, columns):
        labels = _resize(_show(report.clusters), size)
    tiles = [_tile(step, (rows, columns), size, ground, labels) for step in report.steps if step.kind == "pruned"]
    if labels is not None:
        tiles.append(_map(labels, ground))
    across = max(FEWEST, math.ceil(math.sqrt(len(tiles))))
    bar = _bar(report, across * (size[1] + GAP) + GAP)
    return np.concatenate([bar, _sheet(tiles, across)]) if tiles else bar


def _sheet(tiles: list[np.ndarray], across: int) -> np.ndarray:
    height, width = tiles[0].shape[:2]
    down = -(-len(tiles) // across)
    sheet = np.full((down * (height + GAP) + GAP, across * (width + GAP) + GAP, 3), BACKGROUND, np.float32)
    for i, tile in enumerate(tiles):
        top, left = GAP + i // across * (height + GAP), GAP + i % across * (width + GAP)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def _tile(
    step: Step, grid: tuple[int, int], size: tuple[int, int], ground: np.ndarray | None, labels: np.ndarray | None
) -> np.ndarray:
    computed = np.zeros(size, bool)
    if step.selected is not None and step.selected.shape[-2:] == grid:
        computed = _resize(_show(step.selected), size)
    colour = np.array(COLOURS["pruned"], np.float32)
    bright, dark = (colour, colour * 0.25) if ground is None else (0.65 * ground + 0.35 * colour, ground * 0.25)
    tile = np.where(computed[..., None], bright, dark).astype(np.float32)
    if labels is not None:
        border = _borders(labels)
        tile[border] = 0.75 * tile[border] + 0.25
    return tile


def _map(labels: np.ndarray, ground: np.ndarray | None) -> np.ndarray:
    """Every cluster in a colour of its own: neighbouring numbers lie a golden section of the circle apart."""
    wheel = [colorsys.hsv_to_rgb(0.618034 * i % 1, 0.65, 0.95) for i in range(int(labels.max()) + 1)]
    colours = np.array(wheel, np.float32)[labels]
    tile = colours if ground is None else (0.7 * colours + 0.3 * ground).astype(np.float32)
    tile[_borders(labels)] *= 0.5
    return tile


def _borders(labels: np.ndarray) -> np.ndarray:
    border = np.zeros(labels.shape, bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    return border


def _bar(report: Report, width: int) -> np.ndarray:
    """Cost of the steps: columns of one width, a full step is the whole height."""
    bar = np.full((BAR + GAP, width, 3), BACKGROUND, np.float32)
    edges = np.linspace(GAP, width - GAP, len(report.steps) + 1).round().astype(int)
    for step, left, right in zip(report.steps, edges, edges[1:], strict=False):
        height = max(2, round(report.share(step) * BAR))
        bar[GAP + BAR - height :, left : max(left + 1, right - 2)] = COLOURS[step.kind]
    return bar


def _resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """To [H, W, ...] by the nearest value."""
    rows, columns = (np.arange(to) * have // to for to, have in zip(size, picture.shape, strict=False))
    return picture[rows[:, None], columns]


def _show(batch: np.ndarray) -> np.ndarray:
    """[B, (frames,) rows, columns] -> the first picture's, or its middle frame's, [rows, columns]."""
    return batch[0] if batch.ndim == 3 else batch[0, batch.shape[1] // 2]
