"""How fast steps and runs with CAT Pruning are next to the unpatched model's: ``make bench-speed``.

Models of published widths with random bf16 weights, cut to a few blocks (all blocks cost alike), and the demo model
whole, sample through the host's own path with and without CAT Pruning, turn by turn in one process. Every part is saved
when it is measured and not measured again: the benchmark can be interrupted. In the end it writes docs/speed.md.
"""

from __future__ import annotations

import argparse
import json
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
from bench import speed_measuring as measure  # noqa: E402
from bench.speed_document import write_document  # noqa: E402
from bench.speed_models import DEMO, Setup  # noqa: E402
from cat_core.settings import PRESETS  # noqa: E402

OUT = ROOT / ".dev" / "speed.json"
WIDE = Setup()
SMALL = Setup(DEMO, side=64, cfg=4.0)
STEPS = {
    "4 blocks": WIDE,
    "8 blocks": replace(WIDE, blocks=8),
    "shorter prompt": replace(WIDE, text=154),
    "smaller picture": replace(WIDE, side=64),
    "PixArt": Setup("PixArt-Sigma", text=300),
    "Flux": Setup("Flux.1 dev", blocks=2, text=512),
    "demo": SMALL,
}
GROWTH: dict[str, list[tuple[float, Setup, list[float]]]] = {
    "tokens": [((side // 2) ** 2, replace(WIDE, blocks=1, side=side), [0.3]) for side in (32, 64, 128, 256)],
    "blocks": [(blocks, replace(WIDE, blocks=blocks, side=64), [0.3]) for blocks in (1, 2, 4, 8)],
    "batch": [(batch, replace(WIDE, blocks=1, side=64, batch=batch), [0.3]) for batch in (1, 2, 4)],
    "keep ratio": [(ratio, replace(WIDE, blocks=1), [ratio]) for ratio in (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 0.999)],
}
DEMO_METHODS = ["balanced", "quality", "speed", "paper", "LazyCache 0.2", "14 steps"]


def plan(rounds: int) -> dict[str, Callable[[], dict[str, Any]]]:
    """Everything to measure, by name; ``rounds`` are of steps and of runs of 28, one is enough of others."""
    table: dict[str, Callable[[], dict[str, Any]]] = {}
    for name, setup in STEPS.items():
        ratios = [0.3, 0.75] if setup.blocks == 4 else [0.3]
        table[f"steps/{name}"] = partial(measure.steps, setup, ratios, rounds)
    for name, setup, warmup, count in (("4 blocks", WIDE, 4, 16), ("demo", SMALL, 0, 28)):
        for preset in ("paper", "balanced"):
            settings = replace(PRESETS[preset], warmup_steps=warmup or PRESETS[preset].warmup_steps)
            table[f"parts/{name}/{preset}"] = partial(measure.parts, setup, settings, count)
    for steps, often in ((28, rounds), (50, 1)):
        table[f"runs/4 blocks/{steps}"] = partial(measure.whole_runs, WIDE, steps, ["paper", "balanced"], often)
        table[f"runs/demo/{steps}"] = partial(measure.whole_runs, SMALL, steps, DEMO_METHODS, often + 2)
    for preset in ("unpatched", "balanced", "quality"):
        table[f"peak/{preset}"] = partial(measure.peak, WIDE, preset)
    for axis, points in GROWTH.items():
        for value, setup, ratios in points:
            table[f"growth/{axis}/{value:g}"] = partial(measure.steps, setup, ratios, 1)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="of steps and of runs of 28")
    parser.add_argument("--only", default="", help="only parts whose name begins so, and no document")
    parser.add_argument("--again", action="store_true", help="measure what was measured before too")
    parser.add_argument("--out", type=Path, default=OUT, help="file of the figures")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with torch.inference_mode():
        if options.peak:
            print(measure.own_peak(*options.peak))
            return
        results = run(options)
    if not options.only:
        write_document(ROOT / "docs", results)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All figures, measured or read."""
    results = json.loads(options.out.read_text()) if options.out.exists() and not options.again else {}
    results["machine"] = {"torch": torch.__version__, "threads": torch.get_num_threads(), "rounds": options.rounds}
    wanted = {name: part for name, part in plan(options.rounds).items() if name.startswith(options.only)}
    for name, part in tqdm(wanted.items(), desc="speed"):
        if name not in results:
            results[name] = part()
            options.out.write_text(json.dumps(results, indent=1))
    return results


if __name__ == "__main__":
    main()
