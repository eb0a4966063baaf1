"""Draws what tuning measured: likeness against share computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE, LEFT, TOP, RIGHT, BOTTOM = (640, 400), 96, 24, 616, 326
LETTERS = 24
"""Pixels: a node is a third as wide as the picture."""
BACKGROUND, LINES, TEXT = "#15151a", "#3a3a42", "#d0d0d8"
COLOURS = {"settings": "#4d9ef2", "fewer steps": "#9a9aa2", "chosen": "#fab838"}
RADIUS = 9


@dataclass(frozen=True)
class Point:
    """What was measured of settings: share computed 0..1, likeness in dB, and one of :data:`COLOURS`."""

    cost: float
    similarity: float
    kind: str


def draw_chart(points: Sequence[Point]) -> np.ndarray:
    """Chart of finite points: float32 [400, 640, 3] in 0..1."""
    picture = Image.new("RGB", SIZE, BACKGROUND)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(LETTERS)
    shown = [point for point in points if np.isfinite(point.similarity)]
    low = min((point.similarity for point in shown), default=20.0) // 5 * 5
    high = max(max((point.similarity for point in shown), default=low), low + 5) // 5 * 5 + 5

    def place(cost: float, similarity: float) -> tuple[float, float]:
        return LEFT + cost * (RIGHT - LEFT), BOTTOM - (similarity - low) / (high - low) * (BOTTOM - TOP)

    for share in np.linspace(0, 1, 6):
        x, _ = place(share, low)
        pen.line((x, TOP, x, BOTTOM), LINES)
        pen.text((x, BOTTOM + 18), f"{share:.1f}", TEXT, font, anchor="mm")
    # letters of more than a dozen levels would meet
    for level in np.arange(low, high + 1, 5 if high - low <= 50 else 20):
        _, y = place(0, level)
        pen.line((LEFT, y, RIGHT, y), LINES)
        pen.text((LEFT - 8, y), f"{level:.0f} dB", TEXT, font, anchor="rm")
    pen.text(((LEFT + RIGHT) / 2, BOTTOM + 50), "share computed", TEXT, font, anchor="mm")
    for number, (kind, colour) in enumerate(COLOURS.items()):
        x, y = LEFT + 2 * RADIUS, BOTTOM - (len(COLOURS) - number - 0.3) * 1.2 * LETTERS
        pen.ellipse((x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS), colour)
        pen.text((x + 2 * RADIUS, y), kind, TEXT, font, anchor="lm")
    for point in sorted(shown, key=lambda one: one.kind == "chosen"):
        x, y = place(point.cost, point.similarity)
        pen.ellipse((x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS), COLOURS[point.kind])
    return np.asarray(picture, np.float32) / 255
