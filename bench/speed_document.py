"""Writes ``docs/speed.md`` and its figure from what ``bench.speed`` measured."""

from __future__ import annotations

import csv
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from bench import speed_tables as tables
from bench.speed_large import large_shapes
from bench.speed_summary import ratio, summary
from bench.tables import table

FINDINGS = "speed_findings.md"
FIGURE = "speed.svg"
OPENING = """What a step and a run cost in seconds, next to what their multiply-accumulates (MACs) allow. The limit is
the MAC ratio with attention counted; a pack that reaches it has nothing left to give but better numbers of steps and
tokens, and those are a matter of [quality](quality.md)."""
RUN = 28
"""Steps of whole runs."""
AXES = {"tokens": "image tokens", "blocks": "blocks", "batch": "pictures", "keep ratio": "keep ratio"}
MODELS = {"wide": "SD3 width, 2 blocks, 512 x 512, 333 text tokens", "demo": "demo model, whole, CFG 4"}
ROWS = {
    "wide": MODELS["wide"],
    "4 blocks": "the same, 4 blocks",
    "shorter prompt": "the same, 2 blocks, 154 text tokens",
    "PixArt": "PixArt-Sigma's width, 2 blocks, 512 x 512",
    "demo": MODELS["demo"],
}


def write_document(folder: Path, results: dict[str, Any]) -> None:
    """Write speed.md and speed.svg into ``folder``."""
    findings = folder / FINDINGS
    machine = results["machine"]
    quality = _quality(folder / "quality.csv")
    parts = [
        "# Speed",
        OPENING,
        summary(results, MODELS, ROWS, quality),
        findings.read_text(encoding="utf-8").strip() if findings.exists() else f"<!-- {FINDINGS} comes here -->",
        f"""## How it was measured

    make bench-speed

ComfyUI {machine["host"]}, torch {machine["torch"]}, {machine["threads"]} CPU threads, the host's PyTorch attention,
euler; engine `{machine["engine"]}` ([what it does](engine.json)). What is compared was sampled turn by turn in one
process; rounds: {machine["rounds"]}. Medians; in brackets quartiles. Models of published widths have random weights and
a few blocks, since all blocks cost alike; all weights are float32.""",
        f"## Steps\n\n{tables.steps([(title, results[f'steps/{name}']) for name, title in ROWS.items()])}",
        tables.own_work([(title, results[f"parts/{name}"]) for name, title in MODELS.items()]),
        tables.proof([(title, results[f"proof/{name}"]) for name, title in MODELS.items()], RUN),
        *(_runs(results, model, quality if model == "demo" else {}) for model in MODELS),
        _peak(results),
        _growth(results),
        large_shapes(),
    ]
    (folder / "speed.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    save_figure(folder / FIGURE, results)


def _runs(results: dict[str, Any], model: str, quality: dict[str, float]) -> str:
    part = results[f"runs/{model}"]
    rows = [
        [name, *tables.run(part, name), *([f"{quality[name]:.1f} dB" if name in quality else ""] if quality else [])]
        for name in part["seconds"]
    ]
    head = ["", *tables.RUN_HEAD, *(["PSNR, euler"] if quality else [])]
    return f"## {RUN} steps: {MODELS[model]}\n\n{table(head, rows)}"


def _quality(file: Path) -> dict[str, float]:
    """Mean PSNR by method as the quality benchmark measured it."""
    found: dict[str, list[float]] = {}
    with file.open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            if row["sampler"] == "euler" and row["target_steps"] == str(RUN):
                name = "paper" if row["method"] == "as published" else row["method"]
                found.setdefault(name, []).append(float(row["psnr"]))
    return {name: fmean(values) for name, values in found.items()}


def _peak(results: dict[str, Any]) -> str:
    rows = [[preset, f"{results[f'peak/{preset}']['bytes'] / 2**30:.2f} GiB"] for preset in ("unpatched", "balanced")]
    return f"## Largest memory of a process: {MODELS['wide']}\n\n{table(['', 'memory'], rows)}"


def _growth(results: dict[str, Any]) -> str:
    rows = [
        [label, f"{value:g}", f"{full:.3f} s", f"{time:.3f}", f"{macs:.3f}"]
        for axis, label in AXES.items()
        for value, full, time, macs in growth(results, axis)
    ]
    kept = growth(results, "keep ratio")
    slope, rest = np.polyfit([macs for *_, macs in kept], [time for _, _, time, _ in kept], 1)
    fit = f"Over keep ratios, time is {slope:.3f} of the MACs and {rest:.3f} of a full step (least squares)."
    text = f"One block of SD3's width, keep ratio 0.3, unless the row says otherwise.\n\n![Growth]({FIGURE})"
    return f"## How it grows\n\n{text}\n\n{table(['Grows', '', 'full step', 'pruned / full', 'MACs'], rows)}\n\n{fit}"


def growth(results: dict[str, Any], axis: str) -> list[tuple[float, float, float, float]]:
    """(value, seconds of a full step, pruned over full time, pruned over full MACs) of every point."""
    points = []
    for name, part in results.items():
        if name.startswith(f"growth/{axis}/"):
            (kept,) = part["macs"]
            full = part["seconds"]["full"]["median"]
            points.append((float(name.split("/")[-1]), full, ratio(part, kept, "full"), part["macs"][kept]))
    return sorted(points)


def save_figure(path: Path, results: dict[str, Any]) -> None:
    """Time and MACs of pruned over full steps, as SVG."""
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    for panel, (axis, label) in zip(figure.subplots(1, len(AXES)), AXES.items(), strict=True):
        values, _, times, macs = zip(*growth(results, axis), strict=True)
        panel.plot(values, macs, color="#000000", label="MACs")
        panel.plot(values, times, color="#d55e00", marker="o", linestyle="none", label="time")
        panel.set(xlabel=label, ylim=(0, 1.1 if axis == "keep ratio" else 0.6))
        if axis != "keep ratio":
            panel.set_xscale("log", base=2)
        panel.grid(alpha=0.3)
    figure.axes[0].set_ylabel("pruned over full step")
    figure.axes[0].legend(fontsize="small")
    with mpl.rc_context({"svg.hashsalt": "speed", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})
