"""Finds which steps of a run are best computed in full, on recordings of it (:mod:`.replay`)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean

from ..settings import CATSettings, name_steps
from .replay import Recording, replay
from .schedule import Schedule, StepKind

FORECASTS = (0.5, 0.7, 1.0)
CORRECTIONS = (0.0, 0.5, 1.0)
LAST = (2, 0)
"""Steps at the end that are computed in full in any case."""
IDLE = CATSettings(keep_ratio=0.0, refresh_interval=2)


def score(recordings: Sequence[Recording], settings: CATSettings) -> float:
    """Mean logarithm of the errors that :func:`replay` tells; less is better."""
    return fmean(math.log(replay(recording, settings) + 1e-9) for recording in recordings)


def find_full_steps(
    recordings: Sequence[Recording], count: int, settings: CATSettings = IDLE, last: int = 0
) -> CATSettings:
    """``settings`` with the ``count`` full steps that err least, all others idle.

    Steps are taken out one by one, then moved by one as long as that helps. The first one always stays, and as many
    of the ``last`` ones as ``count`` allows.
    """
    steps = len(recordings[0].latents)
    full = list(range(steps))
    stay = {0, *range(steps - min(last, count - 1), steps)}

    def errs(tried: Sequence[int]) -> float:
        return score(recordings, replace(settings, full_steps=name_steps(tried)))

    while len(full) > max(count, 1):
        free = [step for step in full if step not in stay]
        full.remove(min(free, key=lambda step: errs([one for one in full if one != step])))
    best = errs(full)
    while moved := next(((tried, err) for tried in _moved(full, stay, steps) if (err := errs(tried)) < best), None):
        full, best = moved
    return replace(settings, full_steps=name_steps(full))


def _moved(full: list[int], stay: set[int], steps: int) -> Iterable[list[int]]:
    for place, step in enumerate(full):
        for moved in (step - 1, step + 1):
            if step not in stay and 0 < moved < steps and moved not in full:
                yield [*full[:place], moved, *full[place + 1 :]]


def propose(recordings: Sequence[Recording], count: int, most: CATSettings, last: int = LAST[0]) -> list[CATSettings]:
    """Settings with ``count`` full steps and idle ones, the most promising first; none asks for more than ``most``.

    Args:
        most: bounds forecast and correction, by what the run's sampler bears.
        last: steps at the end that are full, see :func:`find_full_steps`.
    """
    usual = replace(IDLE, forecast=min(IDLE.forecast, most.forecast), correction=min(IDLE.correction, most.correction))
    forecasts = sorted({min(value, most.forecast) for value in FORECASTS})
    corrections = sorted({min(value, most.correction) for value in CORRECTIONS})
    found = find_full_steps(recordings, count, usual, last)
    turned = [replace(found, forecast=one, correction=other) for one in forecasts for other in corrections]
    return sorted(turned, key=lambda one: score(recordings, one))


def propose_of_each(recordings: Sequence[Recording], count: int, most: CATSettings) -> list[CATSettings]:
    """Those of :func:`propose` with each number of last steps in turn: a recording does not tell what these are worth.

    That depends on how the sampler ends.
    """
    kinds = [propose(recordings, count, most, last) for last in LAST]
    return list(dict.fromkeys(one for rank in zip(*kinds, strict=True) for one in rank))


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
