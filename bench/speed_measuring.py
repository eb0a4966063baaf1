"""What the speed benchmark measures. Everything compared is sampled turn by turn in one process."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import dropwhile
from typing import Any

from comfy_extras.nodes_easycache import LazyCacheNode

from bench.speed_clock import PartClock, Spread, StepClock, wait_for_device
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


def steps(setup: Setup, keep_ratios: list[float], rounds: int, settings: CATSettings = ALTERNATING) -> dict[str, Any]:
    """Seconds of unpatched, full and pruned steps, and MACs of pruned over full ones."""
    clock = StepClock()
    plain = clock.on(setup.model)
    patched = {ratio: attach(plain, replace(settings, keep_ratio=ratio)) for ratio in keep_ratios}
    setup.sample(plain, 1)
    clock.take()
    seconds: dict[str, list[float]] = defaultdict(list)
    macs = {}
    for _ in range(rounds):
        for ratio, model in patched.items():
            setup.sample(plain, 2)
            seconds["unpatched"] += clock.take()
            setup.sample(model, 6)
            report = _pruned_report(model)
            assert report.cost is not None
            timed = list(zip(report.steps, clock.take(), strict=True))
            # full steps before the first pruned one allocate the caches, and the last of them has the proof
            for step, value in dropwhile(lambda one: one[0].kind == "full", timed):
                seconds["full" if step.kind == "full" else f"{ratio:g}"].append(value)
            call = next(step for step in report.steps if step.kind == "pruned").calls[0]
            full, pruned = (report.cost.total(call.tokens, n, call.text) for n in (call.tokens, call.computed))
            macs[f"{ratio:g}"] = pruned / full
    return {"seconds": {kind: asdict(Spread.of(values)) for kind, values in seconds.items()}, "macs": macs}


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
    """Seconds of whole runs of ``count`` steps, and the MACs that each saves at most."""
    ways = {name: _way(setup, name, count) for name in ["unpatched", *methods]}
    setup.sample(setup.model, 1)
    seconds: dict[str, list[float]] = defaultdict(list)
    reports = {}
    for _ in range(rounds):
        for name, run in ways.items():
            wait_for_device()
            started = time.perf_counter()
            report = run()
            seconds[name].append(time.perf_counter() - started)
            if report is not None:
                reports[name] = {"ceiling": report.mac_ratio, "cache_bytes": report.cache_bytes}
    return {
        "seconds": {name: asdict(Spread.of(values)) for name, values in seconds.items()},
        "reports": reports,
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
    assert not report.reasons, report.reasons
    return report


def peak(setup: Setup, preset: str) -> dict[str, int]:
    """Largest memory in bytes of a process of its own that samples ten steps."""
    command = [sys.executable, "-m", "bench.speed", "--peak", json.dumps(asdict(setup)), preset]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {"bytes": int(output.splitlines()[-1])}


def measure_own_peak(described: str, preset: str) -> int:
    """Of this process, after sampling; the setup is described as JSON."""
    setup = Setup(**json.loads(described))
    settings = None if preset == "unpatched" else replace(PRESETS[preset], warmup_steps=3)
    setup.sample(attach(setup.model, settings) if settings else setup.model, 10)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
