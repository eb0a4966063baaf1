"""What is measured on a GPU, in which order, and within how much time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench import speed_measuring as measure
from bench.gpu_counting import counts
from bench.resuming import Figures, keep
from bench.speed_models import Setup, forget_models
from cat_core.host.memory import is_out_of_memory
from cat_core.settings import PRESETS

COUNTS = (8, 20, 28, 50)
"""Steps of whole runs."""
RUN = 28
"""Steps of the run that a proof is compared with."""
RATIOS = (0.3, 0.5, 0.75)
WAYS = {**measure.alternate(RATIOS), "idle": measure.IDLE}
OF_A_ROUND = len(WAYS) * 8
"""Steps, see :func:`bench.speed_measuring.watch_steps`."""
STOCK = "stock"
"""The part that tells how long others will take."""
ENOUGH, MOST = 60.0, 5
"""Seconds that rounds of a part fill, and how many there are at most; medians are taken over them."""


@dataclass(frozen=True)
class Part:
    """Something to measure.

    Attributes:
        model: its title and that of the way it is run, with a slash.
        name: of the part.
        setup: what is sampled.
        steps: that a round takes, at most as long as the model's own.
        run: measures so many rounds.
    """

    model: str
    name: str
    setup: Setup
    steps: int
    run: Callable[[int], dict[str, Any]]

    @property
    def path(self) -> str:
        """Its name among the figures."""
        return f"{self.model}/{self.name}"

    @property
    def weights(self) -> tuple[str, str]:
        """Which are loaded: two models of them may be more than fit."""
        return self.setup.name, self.setup.dtype

    def seconds(self, figures: Figures) -> float:
        """Of a round, at most; 0 where that is not known yet."""
        return self.steps * figures.get(f"{self.model}/{STOCK}", {}).get("seconds", 0.0)


def plan(models: dict[str, dict[str, Setup]], lengths: Sequence[int]) -> Iterator[Part]:
    """Of every model, by title: all parts of its first way, and steps of the others.

    Args:
        models: ways to run them, by title.
        lengths: numbers of steps of whole runs.
    """
    for name, ways in models.items():
        for number, (way, setup) in enumerate(ways.items()):
            part = partial(Part, f"{name}/{way}")
            yield part(STOCK, setup, 2, _once(measure.unpatched_step, setup))
            yield part("steps", setup, OF_A_ROUND, partial(measure.steps, setup, WAYS))
            yield part("counts", setup, OF_A_ROUND, _once(counts, setup, WAYS))
            if number == 0:
                yield from _whole(part, setup, lengths)


def _whole(part: Callable[..., Part], setup: Setup, lengths: Sequence[int]) -> Iterator[Part]:
    settings = replace(PRESETS["balanced"], warmup_steps=4)
    yield part("parts", setup, 32, _once(measure.parts, setup, settings, 16))
    yield part("proof", setup, 6, partial(measure.proof, setup, RUN))
    for length in lengths:
        for preset in PRESETS:
            run = partial(measure.whole_runs, setup, length, [preset])
            yield part(f"runs/{length}/{preset}", setup, 2 * length + 1, run)


def _once(measured: Callable[..., dict[str, Any]], *given: Any) -> Callable[[int], dict[str, Any]]:
    """Of what has rounds of its own, or needs none."""
    return lambda rounds: measured(*given)


def measure_missing(parts: Sequence[Part], figures: Figures, file: Path, minutes: float) -> int:
    """Measure what is not in the figures yet, as far as it ends in time, and keep it in the file.

    What cannot be measured is kept with the reason: a model that does not fit, a run that is not pruned as asked.

    Returns:
        How many parts are left for another time.
    """
    end, left = time.monotonic() + 60 * minutes, 0
    weights: tuple[str, str] | None = None
    for part in tqdm([part for part in parts if part.path not in figures], desc="gpu"):
        seconds = part.seconds(figures)
        if time.monotonic() + seconds >= end:
            left += 1
            continue
        if weights not in (None, part.weights):
            forget_models()
        weights = part.weights
        keep(file, figures, part.path, _measure(part, seconds))
    return left


def _measure(part: Part, seconds: float) -> dict[str, Any]:
    """A part, or why it cannot be measured; ``seconds`` are those of a round."""
    rounds = max(1, min(MOST, int(ENOUGH / seconds))) if seconds else 1
    try:
        return part.run(rounds)
    except Exception as error:
        if isinstance(error, measure.NotPrunedError):
            return {"reason": str(error)}
        if is_out_of_memory(error):
            return {"reason": "out of memory"}
        raise
