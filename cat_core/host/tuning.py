"""Finds settings for a graph by running it: recorded runs rank candidates, real runs decide."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from ..algorithm.replay import Recording
from ..algorithm.search import mix_in_tokens, plan_share, propose
from ..settings import PRESETS, CATSettings
from .patcher import is_guided, reason_against_tokens
from .sampled import Sampled, Trial
from .samplers import find_solver

KEEP_RATIO = PRESETS["balanced"].keep_ratio
FULL_SHARES = (0.6, 0.8)
"""Of the computation that is spent on full steps, where pruned ones are mixed in."""
LEAST_RUNS = 3
EVERYTHING = CATSettings(forecast=1.0, correction=1.0)
RIVALS_OF_OUR_OWN = ("balanced", "quality", "speed")
CURVE = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Shares of the computation that a curve is drawn through."""


@dataclass(frozen=True)
class Measured:
    """One run: share computed, seconds, and likeness to the full run of the same seed in dB."""

    cost: float
    seconds: float
    similarity: float


@dataclass
class Candidate:
    """Settings, or fewer steps where they are None, and what was measured of them by seed.

    Attributes:
        ran: the settings as the sampler bears them.
    """

    name: str
    settings: CATSettings | None
    steps: int
    measured: dict[int, Measured] = field(default_factory=dict)
    ran: CATSettings | None = None

    def mean(self, of: str) -> float:
        """Mean over the seeds of one of the figures of :class:`Measured`."""
        return fmean(getattr(one, of) for one in self.measured.values())


@dataclass
class Findings:
    """What was measured so far, in the order it was; ``seconds`` are those of a run in full."""

    candidates: list[Candidate] = field(default_factory=list)
    chosen: Candidate | None = None
    seconds: float = 0.0

    @property
    def rivals(self) -> list[Candidate]:
        """Fewer steps."""
        return [one for one in self.candidates if one.settings is None]

    @property
    def ours(self) -> list[Candidate]:
        return [one for one in self.candidates if one.settings is not None]


class Tuner:
    """Spends at most ``budget`` runs.

    Args:
        sampled: what the graph samples.
        seeds: of the runs; every one is run in full first.
        compare: likeness in dB of two results of the sampler, reference first.
        most: bounds forecast and correction, by what the sampler bears; its steps need no bound.
        tokens: whether the model can have pruned steps.
        on_run: called with all findings after every run.
    """

    def __init__(
        self,
        sampled: Sampled,
        seeds: Sequence[int],
        budget: int,
        compare: Callable[[Any, Any], float],
        most: CATSettings,
        tokens: bool,
        on_run: Callable[[Findings], None] = lambda findings: None,
    ):
        self.sampled, self.seeds, self.left = sampled, list(seeds), budget
        self.compare, self.most, self.tokens, self.on_run = compare, most, tokens, on_run
        self.findings = Findings()
        self.references: dict[int, Trial] = {}
        self.recordings: list[Recording] = []

    def record(self) -> None:
        """Run every seed in full."""
        for seed in self.seeds:
            trial, recording = self.sampled.record(seed)
            self.references[seed] = trial
            self.recordings += [recording] if recording else []
            self.left -= 1
            # the first run pays for what is made once
            self.findings.seconds = min(trial.seconds, self.findings.seconds or math.inf)
            self.on_run(self.findings)

    def measure(self, candidate: Candidate, seed: int) -> None:
        """Run one candidate, unless that was done or the budget is spent."""
        if seed in candidate.measured or self.left <= 0:
            return
        trial = self.sampled.run(seed, candidate.settings, candidate.steps)
        cost = trial.cost if candidate.settings else candidate.steps / self.sampled.steps
        similarity = self.compare(self.references[seed].samples, trial.samples)
        candidate.measured[seed] = Measured(cost, trial.seconds, similarity)
        candidate.ran = trial.report.settings if trial.report else None
        self.left -= 1
        if candidate not in self.findings.candidates:
            self.findings.candidates.append(candidate)
        self.on_run(self.findings)

    def candidates(self, share: float) -> list[Candidate]:
        """Settings that compute at most ``share`` of the run, the most promising of each kind first."""
        steps, found = self.sampled.steps, []
        count = math.floor(share * steps + 1e-6)
        if self.recordings and count > 1:
            found += propose(self.recordings, count, self.most)[:2]
            if self.tokens:
                fewer = (propose(self.recordings, max(2, round(part * count)), self.most)[0] for part in FULL_SHARES)
                mixed = (mix_in_tokens(one, steps, share, KEEP_RATIO) for one in fewer)
                found += [one for one in mixed if one is not None]
        return [Candidate(f"{share:.0%} {number}", one, steps) for number, one in enumerate(dict.fromkeys(found), 1)]

    def halve(self, candidates: Iterable[Candidate], reserve: int) -> Candidate:
        """The best of some, by a seed more for the better half of them each time; ``reserve`` runs are left over."""
        best = list(candidates)
        for seed in self.seeds:
            best = best[: max(self.left - reserve, 0)] or best[:1]
            for one in best:
                self.measure(one, seed)
            best.sort(key=lambda one: -one.mean("similarity"))
            best = best[: max(1, len(best) // 2)]
        return best[0]

    def find_rival(self, chosen: Candidate) -> None:
        """Fewer steps that take as long as the chosen settings, on the same seeds."""
        steps = self.sampled.steps
        wanted = round(steps * chosen.mean("seconds") / self.findings.seconds)
        rival = Candidate("fewer steps", None, min(max(wanted, 1), steps - 1))
        for seed in chosen.measured:
            self.measure(rival, seed)

    def find_closest(self, share: float) -> Findings:
        """The settings that stay closest while they compute at most ``share`` of the run."""
        self.record()
        steps = self.sampled.steps
        presets = [Candidate(name, PRESETS[name], steps) for name in RIVALS_OF_OUR_OWN]
        presets = [one for one in presets if plan_share(PRESETS[one.name], steps) <= share]
        # the last runs are the rival's
        self.findings.chosen = self.halve([*self.candidates(share), *presets], reserve=len(self.seeds) - 1)
        self.find_rival(self.findings.chosen)
        return self.findings

    def find_cheapest(self, similarity: float) -> Findings:
        """The settings that compute least while they reach so many dB on the mean of the seeds; none may."""
        self.record()
        steps, seeds = self.sampled.steps, len(self.seeds)
        fewest, most = 2, steps - 1
        while fewest <= most and self.left >= 2 * seeds:
            count = (fewest + most) // 2
            tried = next(iter(self.candidates(count / steps)), None)
            if tried is None:
                break
            for seed in self.seeds:
                self.measure(tried, seed)
            if tried.mean("similarity") >= similarity:
                self.findings.chosen, most = tried, count - 1
            else:
                fewest = count + 1
        if self.findings.chosen:
            self.find_rival(self.findings.chosen)
        return self.findings

    def draw_curve(self) -> Findings:
        """Likeness over the share computed, of settings and of fewer steps, on the first seed; the middle is chosen."""
        self.record()
        steps, seed = self.sampled.steps, self.seeds[0]
        for share in CURVE:
            for one in self.candidates(share)[:1]:
                self.measure(one, seed)
            self.measure(Candidate(f"{share:.0%} of the steps", None, max(1, round(share * steps))), seed)
        ours = self.findings.ours
        self.findings.chosen = ours[len(ours) // 2] if ours else None
        return self.findings


def make_tuner(
    sampled: Sampled,
    seeds: Iterable[int],
    budget: int,
    compare: Callable[[Any, Any], float],
    on_run: Callable[[Findings], None],
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
    solver = find_solver(sampled.sampler)
    if solver.against:
        raise ValueError(f"Nothing can be left out: {solver.against}.")
    guider = sampled.guider
    most = solver.bound(EVERYTHING, sampled.steps, is_guided(guider))
    return Tuner(sampled, seeds, budget, compare, most, reason_against_tokens(guider.model_patcher) is None, on_run)
