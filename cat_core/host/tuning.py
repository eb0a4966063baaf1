"""Finds settings for a graph by running it: recorded runs rank candidates, real runs decide."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from statistics import fmean
from typing import Any

from ..algorithm.replay import Recording
from ..algorithm.search import IDLE, LAST, find_full_steps, limit, mix_in_tokens, plan_share, turn
from ..settings import PRESETS, CATSettings
from .patcher import is_guided, reason_against_tokens
from .sampled import Sampled
from .samplers import find_solver

KEEP_RATIO = PRESETS["balanced"].keep_ratio
FULL_SHARE = 0.7
"""Of the computation that is spent on full steps, where pruned ones are mixed in."""
LEAST_RUNS, LEAST_STEPS = 3, 4
FEWEST = 2
"""Full steps: of one there is no trend."""
SLACK = 1.02
"""Costs that are planned by steps are counted by MACs in the end."""
EVERYTHING = CATSettings(forecast=1.0, correction=1.0)
TRIED_PRESETS = ("balanced", "quality", "speed")
CURVE = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Shares of the computation that a curve is drawn through."""


@dataclass(frozen=True)
class Measured:
    """One run: share computed, seconds, and likeness to the full run of the same seed in dB."""

    cost: float
    seconds: float
    similarity: float


@dataclass(eq=False)
class Candidate:
    """Settings, or fewer steps where they are None, and what was measured of them by seed.

    Attributes:
        ran: the settings as the sampler bears them.
        samples: the first seed's result.
    """

    settings: CATSettings | None
    steps: int
    measured: dict[int, Measured] = field(default_factory=dict)
    ran: CATSettings | None = None
    samples: Any = None

    def mean(self, of: str) -> float:
        """Mean over the seeds of one of the figures of :class:`Measured`."""
        return fmean(getattr(one, of) for one in self.measured.values())


@dataclass
class Findings:
    """What was measured so far, in the order it was.

    Attributes:
        steps: of the runs in full.
        seconds: of one run in full.
        samples: the first seed's result in full.
        chosen: the best so far, or None.
    """

    steps: int
    candidates: list[Candidate] = field(default_factory=list)
    seconds: float = 0.0
    samples: Any = None
    chosen: Candidate | None = None

    @property
    def rivals(self) -> list[Candidate]:
        """Fewer steps."""
        return [one for one in self.candidates if one.settings is None]

    @property
    def ours(self) -> list[Candidate]:
        return [one for one in self.candidates if one.settings is not None]


class Tuner:
    """Spends at most ``budget`` runs; what an interrupt leaves is in ``findings``.

    Args:
        sampled: what the graph samples.
        seeds: of the runs; every one is run in full first.
        budget: how many runs.
        compare: likeness in dB of two results of the sampler, reference first.
        most: bounds forecast and correction, by what the sampler bears; its steps need no bound.
        tokens: whether the model can have pruned steps.
        on_run: called after every run.
    """

    def __init__(
        self,
        sampled: Sampled,
        seeds: Sequence[int],
        budget: int,
        compare: Callable[[Any, Any], float],
        most: CATSettings,
        tokens: bool,
        on_run: Callable[[], None] = lambda: None,
    ):
        self.sampled, self.seeds, self.budget, self.left = sampled, list(seeds), budget, budget
        self.compare, self.most, self.tokens, self.on_run = compare, most, tokens, on_run
        self.findings = Findings(sampled.steps)
        self.references: dict[int, Any] = {}
        self.recordings: list[Recording] = []
        self.choose: Callable[[Sequence[Candidate]], Candidate | None] = lambda candidates: None

    def record(self) -> None:
        """Run every seed in full."""
        for seed in self.seeds:
            trial, recording = self.sampled.record(seed)
            self.references[seed] = trial.samples
            self.recordings += [recording] if recording else []
            # the first run pays for what is made once
            self.findings.seconds = min(trial.seconds, self.findings.seconds or math.inf)
            self.findings.samples = self.references[self.seeds[0]]
            self._count()

    def measure(self, candidate: Candidate, seed: int) -> None:
        """Run one candidate, unless that was done or the budget is spent."""
        if seed in candidate.measured or self.left <= 0:
            return
        trial = self.sampled.run(seed, candidate.settings, candidate.steps)
        cost = trial.cost if candidate.settings else candidate.steps / self.sampled.steps
        similarity = self.compare(self.references[seed], trial.samples)
        if candidate not in self.findings.candidates:
            self.findings.candidates.append(candidate)
            candidate.samples = trial.samples
        candidate.measured[seed] = Measured(cost, trial.seconds, similarity)
        candidate.ran = trial.report.settings if trial.report else None
        self.findings.chosen = self.choose(self.findings.ours)
        self._count()

    def _count(self) -> None:
        self.left -= 1
        self.on_run()

    def candidates(self, share: float) -> list[Candidate]:
        """Settings that compute at most ``share`` of the run, each of another kind, the most promising first."""
        steps, count = self.sampled.steps, math.floor(SLACK * share * self.sampled.steps)
        idle = [self._idle(count, last) for last in LAST]
        fewer = self._idle(round(FULL_SHARE * count)) if self.tokens else None
        mixed = mix_in_tokens(fewer, steps, share, KEEP_RATIO) if fewer else None
        found = [idle[0], self._preset(share), *idle[1:], mixed]
        return [Candidate(one, steps) for one in dict.fromkeys(found) if one is not None]

    def _idle(self, count: int, last: int = LAST[0]) -> CATSettings | None:
        """The most promising settings with so many full steps and idle ones."""
        if not self.recordings or count < FEWEST:
            return None
        settings = turn(IDLE, self.most, count / self.sampled.steps)[0]
        return find_full_steps(self.recordings, count, settings, last)

    def _preset(self, share: float) -> CATSettings | None:
        """The one that computes most within ``share``."""
        presets = [PRESETS[name] if self.tokens else PRESETS[name].without_tokens() for name in TRIED_PRESETS]
        planned = {one: plan_share(one, self.sampled.steps) for one in presets}
        dearest = max((one for one in planned if planned[one] <= share), key=planned.__getitem__, default=None)
        return limit(dearest, self.most) if dearest else None

    def search(self, share: float, runs: int) -> None:
        """Try candidates with one seed, there the best of them with other trends too, then the best of all with others.

        Args:
            share: of the run that they may compute.
            runs: how many it may take.
        """
        first, *others = self.seeds
        finalists = max(1, runs // (2 * len(self.seeds)))
        # a small budget suffices for one candidate at least, and then for no other
        tries = max(1, runs - finalists * len(others))
        tried = self.candidates(share)[: max(1, 2 * tries // 3)]
        for one in tried:
            self.measure(one, first)
        for one in self._turned(tried, share)[: tries - len(tried)]:
            self.measure(one, first)
            tried.append(one)
        for one in _best_first(tried)[:finalists]:
            for seed in others:
                self.measure(one, seed)

    def _turned(self, tried: Sequence[Candidate], share: float) -> list[Candidate]:
        """Those that were tried with the most promising trend, the best first; then with the next one, and so on."""
        trends = [turn(one.settings, self.most, SLACK * share) for one in _best_first(tried) if one.settings]
        turned = dict.fromkeys(settings for rank in zip_longest(*trends) for settings in rank if settings)
        known = [one.settings for one in tried]
        return [Candidate(settings, self.sampled.steps) for settings in turned if settings not in known]

    def find_rival(self) -> None:
        """Fewer steps that take as long as the chosen settings, on the same seeds."""
        chosen, steps = self.findings.chosen, self.sampled.steps
        if chosen is None:
            return
        wanted = round(steps * chosen.mean("seconds") / self.findings.seconds)
        rival = Candidate(None, min(max(wanted, 1), steps - 1))
        for seed in chosen.measured:
            self.measure(rival, seed)

    def find_closest(self, share: float) -> None:
        """The settings that stay closest while they compute at most ``share`` of the run."""
        self.choose = lambda candidates: _closest(candidates, share)
        self.record()
        # the last runs are the rival's
        self.search(share, self.left - len(self.seeds))
        self.find_rival()

    def find_cheapest(self, similarity: float) -> None:
        """The settings that compute least while they reach so many dB on the mean of the seeds; none may."""
        self.choose = lambda candidates: _cheapest(candidates, similarity)
        self.record()
        steps, seeds = self.sampled.steps, len(self.seeds)
        fewest, most = FEWEST, steps - 1
        while fewest <= most and self.left >= 2 * seeds:
            count = (fewest + most) // 2
            settings = self._idle(count)
            if settings is None:
                break
            tried = Candidate(settings, steps)
            for seed in self.seeds:
                self.measure(tried, seed)
            if tried.mean("similarity") >= similarity:
                most = count - 1
            else:
                fewest = count + 1
        self.find_rival()

    def draw_curve(self) -> None:
        """Likeness over the share computed, of settings and of fewer steps; nothing is chosen."""
        self.record()
        steps = self.sampled.steps
        best = [self._idle(math.floor(SLACK * share * steps)) for share in CURVE]
        ours = [Candidate(one, steps) for one in best if one]
        fewer = [Candidate(None, max(1, round(share * steps))) for share in CURVE]
        for seed in self.seeds:
            for one in [part for pair in zip_longest(ours, fewer) for part in pair if part]:
                self.measure(one, seed)


def _closest(candidates: Sequence[Candidate], share: float) -> Candidate | None:
    within = [one for one in candidates if one.mean("cost") <= share * SLACK]
    return max(_of_most_seeds(within), key=lambda one: one.mean("similarity"), default=None)


def _cheapest(candidates: Sequence[Candidate], similarity: float) -> Candidate | None:
    # where a graph is computed in full whatever the settings, there is nothing to choose
    reaching = [one for one in candidates if one.mean("similarity") >= similarity and one.mean("cost") < 1]
    return min(_of_most_seeds(reaching), key=lambda one: one.mean("cost"), default=None)


def _of_most_seeds(candidates: Sequence[Candidate]) -> list[Candidate]:
    most = max((len(one.measured) for one in candidates), default=0)
    return [one for one in candidates if len(one.measured) == most]


def _best_first(candidates: Iterable[Candidate]) -> list[Candidate]:
    return sorted((one for one in candidates if one.measured), key=lambda one: -one.mean("similarity"))


def make_tuner(
    sampled: Sampled,
    seeds: Iterable[int],
    budget: int,
    compare: Callable[[Any, Any], float],
    on_run: Callable[[], None] = lambda: None,
) -> Tuner:
    """A :class:`Tuner` for what the graph's model and sampler bear.

    Raises:
        ValueError: the budget does not allow a run in full of every seed and three more, or nothing can be left out.
    """
    seeds = list(seeds)
    if budget < len(seeds) + LEAST_RUNS:
        raise ValueError(
            f"budget must be {len(seeds) + LEAST_RUNS} or more for {len(seeds)} seeds: each is run in full once, and "
            "then settings are tried."
        )
    if sampled.steps < LEAST_STEPS:
        raise ValueError(f"Nothing can be left out of {sampled.steps} steps: there must be {LEAST_STEPS} or more.")
    solver = find_solver(sampled.sampler)
    if solver.against:
        raise ValueError(f"Nothing can be left out: {solver.against}.")
    guider = sampled.guider
    most = solver.bound(EVERYTHING, sampled.steps, is_guided(guider))
    return Tuner(sampled, seeds, budget, compare, most, reason_against_tokens(guider.model_patcher) is None, on_run)
