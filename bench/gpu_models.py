"""Models for the benchmark on a GPU: at their published width, depth and size, as users run them."""

from __future__ import annotations

from dataclasses import replace

import torch

from bench.speed_models import Setup
from tools.family_table import Figures

VIDEO_480P = {"Wan 2.2 5B": (21, 30, 52), "Wan 2.2 14B, each of two": (21, 60, 104)}
"""Latents of 832 x 480 x 81: the 5B model's autoencoder makes 16 x 16 pixels one, the others' 8 x 8."""
MODELS = {
    "SD3.5 medium": Setup("SD3.5 medium", cfg=4.5),
    "SD3.5 large": Setup("SD3.5 large", cfg=4.5),
    "PixArt-Sigma": Setup("PixArt-Sigma", cfg=4.5),
    "Flux.1 dev": Setup("Flux.1 dev"),
    "Flux.2 klein": Setup("Flux.2 klein base 9B", cfg=5.0),
    "Z-Image": Setup("Z-Image", cfg=4.0),
    "Qwen-Image": Setup("Qwen-Image", cfg=4.0),
    "Wan 2.2 5B": Setup("Wan 2.2 5B", size=VIDEO_480P["Wan 2.2 5B"], cfg=5.0),
    "Wan 2.2 14B": Setup("Wan 2.2 14B, each of two", size=VIDEO_480P["Wan 2.2 14B, each of two"], cfg=3.5),
    "LTX-Video": Setup("LTX-Video 2B", cfg=3.0),
}
"""By the names of the page. Flux.1 dev's guidance is distilled, all others compute two conditionings."""
WEIGHTS = {"bfloat16": "bf16", "float8_e4m3fn": "fp8"}
MOST_OF_A_CARD = 0.8
"""That weights may take: the rest is for activations, and for keys and values."""


def variants(setup: Setup, memory: int) -> dict[str, Setup]:
    """The ways to run a model on a card with so many bytes; of all but the first, steps alone are measured."""
    weights = Figures.of(setup.checkpoint).parameters * torch.bfloat16.itemsize
    dtypes = list(WEIGHTS) if weights <= MOST_OF_A_CARD * memory else ["float8_e4m3fn"]
    main, *others = (replace(setup, dtype=dtype) for dtype in dtypes)
    ways = [main, replace(main, override=True), replace(main, compiled=True), *others]
    return {title(way): way for way in ways}


def title(way: Setup) -> str:
    """How a model is run."""
    also = [name for name in ("override", "compiled") if getattr(way, name)]
    return ", ".join([WEIGHTS[way.dtype], *also])
