"""Finds which steps of a run are best computed in full, on recordings of it (:mod:`.replay`)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean

from ..settings import CATSettings, name_steps
from .replay import Recording, replay
from .schedule import Schedule, StepKind

FIRST = (2, 3, 4)
"""Steps at the beginning that may be computed in full: which of these is best, a recording tells."""
LAST = (2, 1)
"""Steps at the end that may be: which of these is best depends on how the sampler ends, and only real runs tell."""
Trends = tuple[tuple[float, float], ...]
"""Forecasts, and corrections with them, the most promising first.

Of these, too, only real runs tell. A recorded run makes forecasts look better than they are: its trends have no errors
of earlier forecasts in them.
"""
ALONE: Trends = ((0.7, 1.0), (0.5, 1.0), (0.3, 0.5))
"""Of steps that are idle one at a time."""
IN_A_ROW: Trends = ((0.3, 0.5), (0.3, 0.0), (0.5, 0.5))
UNCORRECTED: Trends = ((0.3, 0.0), (0.3, 0.5), (0.7, 0.5))
"""Of samplers that bear no correction in full, because they look back at earlier steps."""
IDLE = CATSettings(keep_ratio=0.0, refresh_interval=2)


def score(recordings: Sequence[Recording], settings: CATSettings) -> float:
    """Mean logarithm of the errors that :func:`replay` tells; less is better."""
    return fmean(math.log(replay(recording, settings) + 1e-9) for recording in recordings)


def find_full_steps(
    recordings: Sequence[Recording], count: int, settings: CATSettings = IDLE, last: int = LAST[0]
) -> CATSettings:
    """``settings`` with the ``count`` full steps that err least, all others idle.

    From steps that are spread evenly, one by one is moved as long as that helps; the first one and the ``last`` ones
    stay.
    """
    steps = len(recordings[0].latents)

    def errs(tried: Sequence[int]) -> float:
        return score(recordings, replace(settings, full_steps=name_steps(tried)))

    full = min((spread(steps, count, first, last) for first in FIRST), key=errs)
    stay, best = {0, *full[len(full) - min(last, count - 1) :]}, errs(full)
    while moved := next(((tried, err) for tried in _moved(full, stay, steps) if (err := errs(tried)) < best), None):
        full, best = moved
    return replace(settings, full_steps=name_steps(full))


def spread(steps: int, count: int, first: int, last: int) -> list[int]:
    """``count`` steps of a run: ``first`` and ``last`` ones as far as they suffice, evenly spread ones between."""
    last = min(last, count - 1)
    first = min(first, count - last)
    start, end, parts = first - 1, steps - last, count - first - last + 1
    between = (start + part * (end - start) // parts for part in range(1, parts))
    return [*range(first), *between, *range(end, steps)]


def _moved(full: list[int], stay: set[int], steps: int) -> Iterable[list[int]]:
    """``full`` with one of its steps somewhere else, nearby first."""
    empty = [step for step in range(steps) if step not in full]
    for far in range(1, steps):
        for step in (one for one in full if one not in stay):
            for moved in (step - far, step + far):
                if moved in empty:
                    yield sorted({*full, moved} - {step})


def turn(settings: CATSettings, most: CATSettings, share: float) -> list[CATSettings]:
    """``settings`` with the trends that suit a sampler, as far as ``most`` allows.

    Args:
        most: what the sampler bears.
        share: of the run that is computed.
    """
    trends = UNCORRECTED if most.correction < 1 else ALONE if share >= 0.5 else IN_A_ROW
    turned = (replace(settings, forecast=forecast, correction=correction) for forecast, correction in trends)
    return list(dict.fromkeys(limit(one, most) for one in turned))


def limit(settings: CATSettings, most: CATSettings) -> CATSettings:
    """``settings`` with no more forecast and correction than ``most`` has."""
    forecast, correction = min(settings.forecast, most.forecast), min(settings.correction, most.correction)
    return replace(settings, forecast=forecast, correction=correction)


def mix_in_tokens(settings: CATSettings, steps: int, share: float, keep_ratio: float) -> CATSettings | None:
    """``settings`` with as many pruned steps between full ones as ``share`` of a run allows, or None for none."""
    for interval in range(1, steps):
        mixed = replace(settings, keep_ratio=keep_ratio, pruned_interval=interval)
        if plan_share(settings, steps) < plan_share(mixed, steps) <= share:
            return mixed
    return None


def plan_share(settings: CATSettings, steps: int) -> float:
    """What settings compute of a run, a pruned step taken for its share of tokens."""
    kinds = Schedule(range(steps, -1, -1), settings).kinds
    return (kinds.count(StepKind.FULL) + settings.keep_ratio * kinds.count(StepKind.PRUNED)) / max(steps, 1)
