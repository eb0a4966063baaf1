"""Tables of measured steps, of the pack's own work and of runs, of whichever models were measured, in Markdown."""

from __future__ import annotations

from typing import Any

from bench.speed_summary import ratio
from bench.tables import table

RUN_HEAD = ["seconds", "speed-up", "MACs allow", "of that", "caches"]
Parts = list[tuple[str, dict[str, Any]]]
"""Titles of models, and what was measured of them."""


def steps(parts: Parts) -> str:
    """A row for every keep ratio."""
    rows = []
    for title, part in parts:
        for kept, macs in part["macs"].items():
            cells = [title, spread(part["seconds"]["unpatched"]), f"{ratio(part, 'full', 'unpatched'):.3f}", kept]
            time = ratio(part, kept, "full")
            rows.append([*cells, f"{time:.3f}", f"{macs:.3f}", f"{macs / time:.2f}"])
    head = ["Model", "unpatched step", "full / unpatched", "keep ratio", "pruned / full", "MACs", "MACs / time"]
    return table(head, rows)


def own_work(parts: Parts) -> str:
    """Shares of steps."""
    names = ["selection", "clustering", "cache renewal", "cache filling"]
    rows = [[title, *(f"{part[name]:.2%}" for name in names)] for title, part in parts]
    text = "Preset *balanced*: shares of pruned steps, cache filling of full ones. Clustering is done once a run."
    return f"## The pack's own work\n\n{text}\n\n{table(['Model', *names], rows)}"


def proof(parts: Parts, count: int) -> str:
    """Next to a run of ``count`` steps."""
    rows = [[title, f"{part['seconds']:.3f} s", f"{part['seconds'] / part['run']:.2%}"] for title, part in parts]
    text = "Once a run, some tokens are computed by themselves where the full answer is known."
    head = ["Model", "a proof", f"of an unpatched run of {count} steps"]
    return f"## Proof\n\n{text}\n\n{table(head, rows)}"


def run(part: dict[str, Any], name: str) -> list[str]:
    """Cells under :data:`RUN_HEAD`; without a report there are no MACs."""
    report, gain = part["reports"].get(name), 1 / ratio(part, name, "unpatched")
    cells = [spread(part["seconds"][name]), f"{gain:.2f}x"]
    cells += [f"{report['ceiling']:.2f}x", f"{gain / report['ceiling']:.2f}"] if report else ["", ""]
    return [*cells, f"{report['cache_bytes'] / 2**20:.0f} MiB" if report else ""]


def spread(seconds: dict[str, float]) -> str:
    """Median and quartiles."""
    median, low, high = (seconds[name] for name in ("median", "low", "high"))
    if median < 0.1:
        return f"{1000 * median:.2f} ms ({1000 * low:.2f} to {1000 * high:.2f})"
    return f"{median:.2f} s ({low:.2f} to {high:.2f})"
