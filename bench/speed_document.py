"""Writes ``docs/speed.md`` and its figure from what ``bench.speed`` measured."""

from __future__ import annotations

import csv
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from bench.speed_large import large_shapes
from bench.speed_summary import ratio, summary

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
        _steps(results),
        _parts(results),
        _proof(results),
        *(_runs(results, model, quality if model == "demo" else {}) for model in MODELS),
        _peak(results),
        _growth(results),
        large_shapes(),
    ]
    (folder / "speed.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    save_figure(folder / FIGURE, results)


def _steps(results: dict[str, Any]) -> str:
    lines = []
    for name, title in ROWS.items():
        part = results[f"steps/{name}"]
        for kept, macs in part["macs"].items():
            cells = [title, _spread(part["seconds"]["unpatched"]), f"{ratio(part, 'full', 'unpatched'):.3f}", kept]
            cells += [f"{ratio(part, kept, 'full'):.3f}", f"{macs:.3f}", f"{macs / ratio(part, kept, 'full'):.2f}"]
            lines.append(_line(cells))
    head = ["Model", "unpatched step", "full / unpatched", "keep ratio", "pruned / full", "MACs", "MACs / time"]
    return "\n".join(["## Steps", "", *_head(head), *lines])


def _parts(results: dict[str, Any]) -> str:
    lines = []
    for model, title in MODELS.items():
        part = results[f"parts/{model}"]
        shares = [part[name] for name in ("selection", "clustering", "cache renewal", "cache filling")]
        lines.append(_line([title, *(f"{share:.2%}" for share in shares)]))
    head = ["Model", "selection", "clustering", "cache renewal", "cache filling"]
    text = "Preset *balanced*: shares of pruned steps, cache filling of full ones. Clustering is done once a run."
    return "\n".join(["## The pack's own work", "", text, "", *_head(head), *lines])


def _proof(results: dict[str, Any]) -> str:
    lines = []
    for model, title in MODELS.items():
        part = results[f"proof/{model}"]
        lines.append(_line([title, f"{part['seconds']:.3f} s", f"{part['seconds'] / part['run']:.2%}"]))
    text = "Once a run, some tokens are computed by themselves where the full answer is known."
    head = ["Model", "a proof", f"of an unpatched run of {RUN} steps"]
    return "\n".join(["## Proof", "", text, "", *_head(head), *lines])


def _runs(results: dict[str, Any], model: str, quality: dict[str, float]) -> str:
    part = results[f"runs/{model}"]
    lines = []
    for name in part["seconds"]:
        report, gain = part["reports"].get(name), 1 / ratio(part, name, "unpatched")
        cells = [name, _spread(part["seconds"][name]), f"{gain:.2f}x"]
        cells += [f"{report['ceiling']:.2f}x", f"{gain / report['ceiling']:.2f}"] if report else ["", ""]
        cells += [f"{report['cache_bytes'] / 2**20:.0f} MiB" if report else ""]
        lines.append(_line([*cells, f"{quality[name]:.1f} dB" if name in quality else ""] if quality else cells))
    head = ["", "seconds", "speed-up", "MACs allow", "of that", "caches", *(["PSNR, euler"] if quality else [])]
    return "\n".join([f"## {RUN} steps: {MODELS[model]}", "", *_head(head), *lines])


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
    lines = [
        _line([preset, f"{results[f'peak/{preset}']['bytes'] / 2**30:.2f} GiB"]) for preset in ("unpatched", "balanced")
    ]
    title = f"## Largest memory of a process: {MODELS['wide']}"
    return "\n".join([title, "", *_head(["", "memory"]), *lines])


def _growth(results: dict[str, Any]) -> str:
    lines = []
    for axis, label in AXES.items():
        points = growth(results, axis)
        for value, full, time, macs in points:
            lines.append(_line([label, f"{value:g}", f"{full:.3f} s", f"{time:.3f}", f"{macs:.3f}"]))
    kept = growth(results, "keep ratio")
    slope, rest = np.polyfit([macs for *_, macs in kept], [time for _, _, time, _ in kept], 1)
    fit = f"Over keep ratios, time is {slope:.3f} of the MACs and {rest:.3f} of a full step (least squares)."
    head = ["Grows", "", "full step", "pruned / full", "MACs"]
    text = f"One block of SD3's width, keep ratio 0.3, unless the row says otherwise.\n\n![Growth]({FIGURE})"
    return "\n".join(["## How it grows", "", text, "", *_head(head), *lines, "", fit])


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


def _spread(seconds: dict[str, float]) -> str:
    return f"{seconds['median']:.2f} s ({seconds['low']:.2f} to {seconds['high']:.2f})"


def _head(cells: list[str]) -> list[str]:
    return [_line(cells), _line(["---"] * len(cells)).replace(" ", "")]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
