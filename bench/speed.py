"""How fast steps and runs with CAT Pruning are next to the unpatched model's: ``make bench-speed``.

Models of published widths with random float32 weights, cut to a few blocks (all blocks cost alike), and the demo model
whole, sample through the host's own path with and without CAT Pruning, turn by turn in one process. Every part is saved
when it is measured and not measured again: the benchmark can be interrupted. In the end it writes docs/speed.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from tools.host import ROOT, import_host, restart_with_allocator

restart_with_allocator()
import_host(cpu=not torch.cuda.is_available())
from comfyui_version import __version__ as host_version  # noqa: E402

from bench import speed_measuring as measure  # noqa: E402
from bench.engine import SPEED, identify  # noqa: E402
from bench.resuming import keep, read_figures  # noqa: E402
from bench.speed_document import RUN, write_document  # noqa: E402
from bench.speed_models import DEMO, Setup  # noqa: E402
from cat_core.settings import PRESETS  # noqa: E402

OUT = ROOT / ".dev" / "speed.json"
WIDE = Setup(blocks=2, size=(64, 64))
SMALL = Setup(DEMO, size=(64, 64), cfg=4.0)
STEPS = {
    "wide": WIDE,
    "4 blocks": replace(WIDE, blocks=4),
    "shorter prompt": replace(WIDE, text=154),
    "PixArt": Setup("PixArt-Sigma", blocks=2, size=(64, 64)),
    "demo": SMALL,
}
GROWTH: dict[str, list[tuple[float, Setup, list[float]]]] = {
    "tokens": [((side // 2) ** 2, replace(WIDE, blocks=1, size=(side, side)), [0.3]) for side in (32, 64)],
    "blocks": [(blocks, replace(WIDE, blocks=blocks), [0.3]) for blocks in (1, 2)],
    "batch": [(batch, replace(WIDE, blocks=1, batch=batch), [0.3]) for batch in (1, 2)],
    "keep ratio": [(ratio, replace(WIDE, blocks=1), [ratio]) for ratio in (0.1, 0.3, 0.75)],
}
METHODS = {
    "wide": (WIDE, ["balanced", "paper"], 1),
    "demo": (SMALL, ["balanced", "quality", "speed", "paper", "LazyCache 0.2", "14 steps"], 1),
}


def plan(rounds: int) -> dict[str, Callable[[], dict[str, Any]]]:
    """Everything to measure, by name; ``rounds`` are of runs and of the two main models' steps, one of all others."""
    table: dict[str, Callable[[], dict[str, Any]]] = {}
    for name, (setup, methods, often) in METHODS.items():
        table[f"runs/{name}"] = partial(measure.whole_runs, setup, RUN, methods, often * rounds)
        table[f"proof/{name}"] = partial(measure.proof, setup, RUN, 2 * rounds)
        settings = replace(PRESETS["balanced"], warmup_steps=4)
        table[f"parts/{name}"] = partial(measure.parts, setup, settings, 16)
    for name, setup in STEPS.items():
        ratios, often = ([0.3, 0.75], rounds) if name in METHODS else ([0.3], 1)
        table[f"steps/{name}"] = partial(measure.steps, setup, measure.alternate(ratios), often)
    for preset in ("unpatched", "balanced"):
        table[f"peak/{preset}"] = partial(measure.peak, WIDE, preset)
    for axis, points in GROWTH.items():
        for value, setup, ratios in points:
            table[f"growth/{axis}/{value:g}"] = partial(measure.steps, setup, measure.alternate(ratios), 1)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, help="of runs and of the main models' steps")
    parser.add_argument("--only", default="", help="only parts whose name begins so, and no document")
    parser.add_argument("--again", action="store_true", help="measure what was measured before too")
    parser.add_argument("--out", type=Path, default=OUT, help="file of the figures")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with torch.inference_mode():
        if options.peak:
            print(measure.measure_own_peak(*options.peak))
            return
        results = run(options)
    if not options.only:
        write_document(ROOT / "docs", results)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All figures, measured or read. What another engine, host or machine was measured to do is measured again."""
    machine = {
        "engine": identify(SPEED),
        "host": host_version,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "rounds": options.rounds,
    }
    results = {"machine": machine} if options.again else read_figures(options.out, machine)
    wanted = {name: part for name, part in plan(options.rounds).items() if name.startswith(options.only)}
    for name, part in tqdm(wanted.items(), desc="speed"):
        if name not in results:
            keep(options.out, results, name, part())
    return results


if __name__ == "__main__":
    main()
