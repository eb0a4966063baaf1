"""Pictures that the second model is trained on (:mod:`bench.second_model`): four kinds in six palettes."""

from __future__ import annotations

import numpy as np

from bench.second_model import SIZE

COLOURS = {
    "dawn": ((250, 200, 160), (190, 90, 120), (70, 40, 90)),
    "forest": ((210, 225, 180), (90, 140, 80), (25, 60, 45)),
    "ocean": ((200, 230, 240), (60, 140, 190), (15, 45, 95)),
    "desert": ((245, 225, 180), (215, 150, 80), (120, 65, 35)),
    "night": ((130, 140, 190), (55, 55, 110), (12, 12, 35)),
    "candy": ((255, 225, 240), (240, 110, 170), (110, 190, 220)),
}
LINE = np.linspace(0, 1, SIZE, dtype=np.float32)


def _hills(rng: np.random.Generator) -> np.ndarray:
    """Ridges of waves before each other, each darker and nearer, under a sky with a sun."""
    shade = np.broadcast_to(0.25 * LINE[:, None], (SIZE, SIZE)).copy()
    centre, radius = rng.uniform(0.15, 0.85, 2) * (1, 0.4), rng.uniform(0.05, 0.12)
    shade[np.hypot(LINE[None] - centre[0], LINE[:, None] - centre[1]) < radius] = 0
    for ridge in range(4):
        height = (
            0.35
            + 0.15 * ridge
            + sum(rng.uniform(0.01, 0.06) * np.sin(2 * np.pi * (wave * LINE + rng.random())) for wave in (1, 2, 5, 9))
        )
        shade[LINE[:, None] > height[None]] = 0.4 + 0.18 * ridge
    return shade


def _mosaic(rng: np.random.Generator) -> np.ndarray:
    """Cells around random points, with joints."""
    points, shades = rng.random((24, 2)), rng.random(24)
    away = np.hypot(LINE[None, :, None] - points[:, 0], LINE[:, None, None] - points[:, 1])
    nearest = np.sort(away, -1)
    shade = shades[away.argmin(-1)]
    shade[nearest[..., 1] - nearest[..., 0] < 0.012] = 1
    return shade


def _rings(rng: np.random.Generator) -> np.ndarray:
    """Waves around two points, one over the other."""
    parts = [np.sin(rng.uniform(25, 60) * np.hypot(LINE[None] - x, LINE[:, None] - y)) for x, y in rng.random((2, 2))]
    return (2 + parts[0] + parts[1]) / 4


def _weave(rng: np.random.Generator) -> np.ndarray:
    """Bands over and under each other, turned."""
    angle, count = rng.uniform(0, np.pi), rng.uniform(3, 7)
    x = np.cos(angle) * LINE[None] + np.sin(angle) * LINE[:, None]
    y = np.cos(angle) * LINE[:, None] - np.sin(angle) * LINE[None]
    over = (np.floor(x * count) + np.floor(y * count)) % 2 == 0
    return np.where(over, np.abs(np.sin(np.pi * count * x)), 1 - 0.6 * np.abs(np.sin(np.pi * count * y)))


DRAW = {"hills": _hills, "mosaic": _mosaic, "rings": _rings, "weave": _weave}


class Pictures:
    """Draws what a caption says; every random choice comes from the generator that is passed in."""

    def draw(self, caption: str, rng: np.random.Generator) -> np.ndarray:
        """Float32 [128, 128, 3] in 0..255."""
        kind, palette = caption.split()
        colours = np.array(COLOURS[palette], np.float32)
        shade = DRAW[kind](rng)
        return np.stack([np.interp(shade, (0, 0.5, 1), colour) for colour in colours.T], -1).astype(np.float32)
