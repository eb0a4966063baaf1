"""Large pictures and videos on paper: what caches take, and when moving them to the CPU and back still pays."""

from __future__ import annotations

from dataclasses import replace

from bench.tables import table
from tools.checkpoints import CHECKPOINTS
from tools.family_table import KEEP_RATIO, Figures

BUS = 25e9
"""Bytes a second between CPU and GPU: about what PCIe 4.0 x16 gives with pinned memory."""
SHAPES = {
    "Qwen-Image": ((1, 256, 256), "2048 x 2048"),
    "Wan 2.1 1.3B": (None, None),
    "Wan 2.1 14B": (None, None),
    "HunyuanVideo": (None, None),
}
RATIOS = (0.3, 0.5, KEEP_RATIO)
HEAD = f"""## Large pictures and videos, on paper

For one conditioning. *Full step*: MACs in T. *saves*: MACs that a pruned step does not compute. *moved in*: time to
bring all float8 caches to the GPU and back at {BUS / 1e9:.0f} GB/s, as a pruned step with `cache_device` cpu does.
*pays below*: speed of a GPU, in TFLOPS that it really reaches, above which moving takes longer than computing what is
saved.
"""
COLUMNS = ["Checkpoint", "Size", "Full step", "Caches, 16 bit / float8", "keep ratio"]
COLUMNS += ["saves", "moved in", "pays below"]


def large_shapes() -> str:
    """The section, in Markdown."""
    return f"{HEAD}\n{table(COLUMNS, [row for name in SHAPES for row in _rows(name)])}"


def _rows(name: str) -> list[list[str]]:
    size, picture = SHAPES[name]
    checkpoint = next(each for each in CHECKPOINTS if each.name == name)
    if size and picture:
        checkpoint = replace(checkpoint, size=size, picture=picture)
    figures = Figures.of(checkpoint)
    full, moved = figures.macs(1), 2 * figures.caches(1) / BUS
    caches = " / ".join(f"{figures.caches(size) / 2**30:.1f} GiB" for size in (2, 1))
    rows = []
    for ratio in RATIOS:
        saved = full - figures.macs(ratio)
        cells = [name, checkpoint.picture, f"{full / 1e12:.0f}", caches, f"{ratio:g}"]
        cells += [f"{saved / 1e12:.0f}", f"{moved:.2f} s", f"{2 * saved / moved / 1e12:.0f}"]
        rows.append(cells)
    return rows
