"""Writes ``gpu.md`` from what ``bench.gpu`` measured, be it a part of the plan."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import speed_tables as tables
from bench.gpu_counting import STEP
from bench.gpu_plan import RUN
from bench.gpu_summary import find_launch_bound, summary
from bench.resuming import Figures
from bench.speed_measuring import BARE
from bench.speed_summary import ratio
from bench.tables import table

PAGE = "gpu.md"
NOT_COUNTED = "not counted on the CPU"
OPENING = """# On a GPU

What steps and runs cost on a GPU, next to what their multiply-accumulates (MACs) allow, with models of the host at
their published width, depth and size. Weights are random, so nothing is said of pictures, which are a matter of
[quality](quality.md)."""
HOW = """## How it was measured

    make bench-gpu

{card}, driver {driver}, torch {torch}, ComfyUI {host}, the host's PyTorch attention, or, overridden, {override};
euler; engine `{engine}` ([what it does](engine.json)). One picture or video at a time. What is compared was sampled
turn by turn in one process. Medians; in brackets quartiles."""
STEPS = f"""*MACs / time* is the share that is reached of what MACs allow. Keys and values are kept at full steps where
pruned ones follow; *{BARE}* are full steps between idle ones. *override*: another node computes attention. *compiled*:
by TorchCompileModel; steps that keep keys and values or prune run uncompiled."""
RUNS = """*of that*: speed-up over what MACs allow. *memory*: the most that was in use at once, weights included,
without and with CAT Pruning."""
COUNTS = """Of a step of the sampler, all conditionings. *waits*: how often the CPU waits for the GPU. *launching* and
*computing*: seconds of the CPU and of the GPU; the profiler slows launching. *launch-bound*: parts whose launching
takes longer."""
BESIDE = (("idle", "unpatched"), (BARE, "unpatched"))
"""What the second table compares."""


def write_document(folder: Path, figures: Figures) -> None:
    """Write the page into ``folder``."""
    (folder / PAGE).write_text(document(figures), encoding="utf-8")


def document(figures: Figures) -> str:
    """The page; parts that are not measured yet are left out."""
    steps, counted = find(figures, "steps"), find(figures, "counts")
    sections = [
        OPENING,
        summary(find(figures, f"runs/{RUN}/balanced"), steps, counted),
        HOW.format(**figures["machine"]),
        f"## Steps\n\n{STEPS}\n\n{tables.steps(steps)}\n\n{_idle(steps)}",
        tables.own_work(find(figures, "parts")),
        tables.proof(find(figures, "proof"), RUN),
        *_runs(figures),
        f"## What a step asks of the GPU\n\n{_counts(counted)}",
        _not_measured(figures),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def find(figures: Figures, name: str) -> tables.Parts:
    """What was measured under a name, by the models' titles."""
    named = [(path.removesuffix(f"/{name}"), part) for path, part in figures.items() if path.endswith(f"/{name}")]
    return [(model.replace("/", ", "), part) for model, part in named if "reason" not in part]


def _idle(parts: tables.Parts) -> str:
    rows = [
        [title, tables.spread(part["seconds"]["idle"]), *(f"{ratio(part, *pair):.3f}" for pair in BESIDE)]
        for title, part in parts
    ]
    return table(["Model", "idle step", *(" / ".join(pair) for pair in BESIDE)], rows)


def _runs(figures: Figures) -> Iterator[str]:
    """A section for every model that has runs."""
    rows: dict[str, list[list[str]]] = {}
    for path, part in figures.items():
        model, found, run = path.partition("/runs/")
        if found and "reason" not in part:
            length, preset = run.split("/")
            cells = [length, preset, tables.spread(part["seconds"]["unpatched"]), *tables.run(part, preset)]
            rows.setdefault(model, []).append([*cells, _memory(part, preset), _notes(part, preset)])
    head = ["steps", "preset", "unpatched", *tables.RUN_HEAD, "memory", "notes"]
    for model, lines in rows.items():
        yield f"## Runs: {model.replace('/', ', ')}\n\n{RUNS}\n\n{table(head, lines)}"


def _memory(part: dict[str, Any], preset: str) -> str:
    sides = [part["memory"][name] for name in ("unpatched", preset)]
    return NOT_COUNTED if None in sides else " / ".join(f"{side / 2**30:.1f}" for side in sides) + " GiB"


def _notes(part: dict[str, Any], preset: str) -> str:
    return "; ".join(part["reports"][preset]["notes"])


def _counts(parts: tables.Parts) -> str:
    rows = [
        [title, kind, *_asked(counts)]
        for title, part in parts
        if part["counted"]
        for kind, counts in part["counted"].items()
    ]
    if not rows:
        return NOT_COUNTED[0].upper() + NOT_COUNTED[1:] + "."
    head = ["Model", "step", "waits", "launches", "launching", "computing", "launch-bound"]
    return f"{COUNTS}\n\n{table(head, rows)}"


def _asked(counts: dict[str, Any]) -> list[str]:
    launching, computing = counts["seconds"][STEP]
    numbers = [f"{counts[name]:g}" for name in ("synchronisations", "launches")]
    return [*numbers, f"{launching:.4f} s", f"{computing:.4f} s", ", ".join(find_launch_bound(counts))]


def _not_measured(figures: Figures) -> str:
    lines = [f"- {path}: {part['reason']}" for path, part in figures.items() if "reason" in part]
    return "\n".join(["## What could not be measured", "", *lines]) if lines else ""
