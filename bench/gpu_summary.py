"""What came out of ``bench.gpu``, in sentences that are made of its figures."""

from __future__ import annotations

from typing import Any

from bench.gpu_counting import STEP
from bench.speed_summary import ratio
from bench.speed_tables import Parts


def summary(runs: Parts, steps: Parts, counted: Parts) -> str:
    """The section, in Markdown; sentences without figures are left out.

    Args:
        runs: whole ones with preset *balanced*.
        steps, counted: of all models and ways.
    """
    lines = [*map(_run, runs), *_full_steps(steps), *_launch_bound(counted)]
    return "\n".join(["## What came out", "", *lines]) if lines else ""


def find_launch_bound(counts: dict[str, Any]) -> list[str]:
    """Parts of a step, or the whole, whose kernels take longer to launch than to compute."""
    return [name for name, (launching, computing) in counts["seconds"].items() if launching > computing]


def _run(model: tuple[str, dict[str, Any]]) -> str:
    title, part = model
    gain, ceiling = 1 / ratio(part, "balanced", "unpatched"), part["reports"]["balanced"]["ceiling"]
    return f"- **{title}**: *balanced* {gain:.2f}x of {ceiling:.2f}x that MACs allow, {gain / ceiling:.0%}."


def _full_steps(steps: Parts) -> list[str]:
    found = sorted(ratio(part, "full", "unpatched") for title, part in steps if "compiled" not in title)
    return [f"- **A full step** takes {found[0]:.3f} to {found[-1]:.3f} of an unpatched one."] if found else []


def _launch_bound(counted: Parts) -> list[str]:
    bound: dict[str, list[str]] = {}
    for title, part in counted:
        for kind, counts in (part["counted"] or {}).items():
            if STEP in find_launch_bound(counts):
                bound.setdefault(title, []).append(kind)
    return [f"- **Launch-bound** steps of {title}: {', '.join(kinds)}." for title, kinds in bound.items()]
