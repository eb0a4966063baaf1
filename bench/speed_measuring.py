"""What the speed benchmark measures. Everything compared is sampled turn by turn in one process."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from itertools import dropwhile
from typing import Any

from comfy_extras.nodes_easycache import LazyCacheNode

from bench.speed_clock import PartClock, Spread, StepClock, StepWatch, largest_memory, wait_for_device
from bench.speed_models import Setup
from cat_core.host.patcher import attach, last_report
from cat_core.report import Report
from cat_core.settings import PRESETS, CATSettings
from tools.host import ROOT

ALTERNATING = CATSettings(
    pruned_interval=1, refresh_interval=2, warmup_steps=2, final_full_steps=0, correction=0.0, propagation=0.0
)
"""The dearest schedule there is: every full step fills the caches, every second step is pruned. Ingredients of the
paper alone, so that a pruned step does what its MACs say."""


IDLE = replace(PRESETS["quality"], warmup_steps=2, final_full_steps=0)
"""As many full steps, which keep nothing, and idle ones between them."""
BARE = "full, nothing kept"
"""Full steps of ways without pruned ones."""


class NotPrunedError(RuntimeError):
    """A run did otherwise than was asked for, so its time is of something else; says why."""


def alternate(keep_ratios: Iterable[float]) -> dict[str, CATSettings]:
    """Ways to sample with every second step pruned, by their keep ratios."""
    return {f"{ratio:g}": replace(ALTERNATING, keep_ratio=ratio) for ratio in keep_ratios}


def unpatched_step(setup: Setup) -> dict[str, float]:
    """Seconds of a step."""
    clock = StepClock()
    plain = clock.on(setup.model)
    for _ in range(2):
        setup.sample(plain, 1)
    return {"seconds": clock.take()[-1]}


def steps(setup: Setup, ways: dict[str, CATSettings], rounds: int) -> dict[str, Any]:
    """Seconds of every kind of step, see :func:`watch_steps`, and MACs of pruned over full ones."""
    seconds, reports = watch_steps(setup, ways, rounds, StepClock())
    macs = {name: _pruned_macs(report) for name, report in reports.items() if report.count("pruned")}
    return {"seconds": {kind: asdict(Spread.of(values)) for kind, values in seconds.items()}, "macs": macs}


def watch_steps(
    setup: Setup, ways: dict[str, CATSettings], rounds: int, watch: StepWatch
) -> tuple[dict[str, list[Any]], dict[str, Report]]:
    """Sample unpatched and in several ways in turns.

    Returns:
        What is noted, of steps that are ``unpatched``, ``full`` or :data:`BARE`, and of the others by the names of
        their ways; and the ways' reports.
    """
    plain = watch.on(setup.model)
    patched = {name: attach(plain, settings) for name, settings in ways.items()}
    setup.sample(plain, 1)
    watch.take()
    noted: dict[str, list[Any]] = defaultdict(list)
    reports = {}
    for _ in range(rounds):
        for name, model in patched.items():
            setup.sample(plain, 2)
            noted["unpatched"] += watch.take()
            setup.sample(model, 6)
            reports[name] = _pruned_report(model)
            full = "full" if ways[name].selects_tokens else BARE
            # full steps before the first pruned one allocate the caches, and the last of them has the proof
            pairs = zip(reports[name].steps, watch.take(), strict=True)
            for step, note in dropwhile(lambda pair: pair[0].kind == "full", pairs):
                noted[full if step.kind == "full" else name].append(note)
    return noted, reports


def _pruned_macs(report: Report) -> float:
    """Of a pruned step over a full one."""
    assert report.cost is not None
    call = next(step for step in report.steps if step.kind == "pruned").calls[0]
    full, pruned = (report.cost.total(call.tokens, n, call.text) for n in (call.tokens, call.computed))
    return pruned / full


def parts(setup: Setup, settings: CATSettings, count: int) -> dict[str, Any]:
    """Share of the pack's own work in full and pruned steps; ``count`` is the run's steps."""
    model = attach(setup.model, settings)
    setup.sample(model, count)
    clock = PartClock()
    with clock.running():
        setup.sample(model, count)
    sums = {part: sum(values) for part, values in clock.seconds.items()}
    calls = {part: len(values) for part, values in clock.seconds.items()}
    pruned, full = (sums[kind] for kind in ("pruned step", "full step"))
    return {
        "calls": calls,
        "selection": (sums["selection"] - sums["clustering"]) / pruned,
        "clustering": sums["clustering"] / pruned,
        "cache renewal": sums["cache renewal"] / pruned,
        "cache filling": sums["cache filling"] / full,
    }


def proof(setup: Setup, count: int, rounds: int) -> dict[str, float]:
    """Seconds that a run of any length spends on its proof, and those of an unpatched run of ``count`` steps."""
    clock, plain = PartClock(), StepClock()
    timed = plain.on(setup.model)
    pruned = attach(setup.model, ALTERNATING)
    setup.sample(timed, 1)
    plain.take()
    with clock.running():
        for _ in range(rounds):
            setup.sample(timed, 2)
            setup.sample(pruned, 4)
            _pruned_report(pruned)
    tried, step = (Spread.of(seconds).median for seconds in (clock.seconds["proof"], plain.take()))
    return {"seconds": tried, "run": count * step}


def whole_runs(setup: Setup, count: int, methods: list[str], rounds: int) -> dict[str, Any]:
    """Seconds of whole runs of ``count`` steps, the MACs that each saves at most, and bytes of memory they take."""
    ways = {name: _way(setup, name, count) for name in ["unpatched", *methods]}
    setup.sample(setup.model, 1)
    seconds: dict[str, list[float]] = defaultdict(list)
    reports, memory = {}, {}
    for _ in range(rounds):
        for name, run in ways.items():
            wait_for_device()
            largest_memory()
            started = time.perf_counter()
            report = run()
            wait_for_device()
            seconds[name].append(time.perf_counter() - started)
            memory[name] = largest_memory()
            if report is not None:
                kept = {"cache_bytes": report.cache_bytes, "notes": report.notes}
                reports[name] = {"ceiling": report.mac_ratio, **kept}
    return {
        "seconds": {name: asdict(Spread.of(values)) for name, values in seconds.items()},
        "reports": reports,
        "memory": memory,
    }


def _way(setup: Setup, name: str, count: int) -> Callable[[], Any]:
    """What samples ``unpatched``, with a preset, with ``LazyCache 0.2`` or in ``14 steps``, and returns its report."""
    model, steps = setup.model, count
    if name in PRESETS:
        model = attach(model, PRESETS[name])
    elif name.startswith("LazyCache"):
        limits = {"reuse_threshold": float(name.split()[1]), "start_percent": 0.15, "end_percent": 0.95}
        model = LazyCacheNode.execute(model=model, **limits, verbose=False).result[0]
    elif name.endswith("steps"):
        steps = int(name.removesuffix(" steps"))

    def run() -> Any:
        setup.sample(model, steps)
        return _pruned_report(model) if name in PRESETS else None

    return run


def _pruned_report(model: Any) -> Report:
    report = last_report(model)
    assert report is not None
    if report.reasons:
        raise NotPrunedError("; ".join(report.reasons))
    return report


def peak(setup: Setup, preset: str) -> dict[str, int]:
    """Largest memory in bytes of a process of its own that samples ten steps."""
    command = [sys.executable, "-m", "bench.speed", "--peak", json.dumps(asdict(setup)), preset]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {"bytes": int(output.splitlines()[-1])}


def measure_own_peak(text: str, preset: str) -> int:
    """Of this process, after sampling; the setup is described as JSON."""
    described = json.loads(text)
    setup = Setup(**{**described, "size": tuple(described["size"])})
    settings = None if preset == "unpatched" else replace(PRESETS[preset], warmup_steps=3)
    setup.sample(attach(setup.model, settings) if settings else setup.model, 10)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
