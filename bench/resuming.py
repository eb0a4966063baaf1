"""Figures in a file that are measured once: a benchmark that was interrupted goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
"""What was measured, by the names of parts, and the machine."""


def read_figures(file: Path, machine: dict[str, Any]) -> Figures:
    """Those of the same machine and engine, which ``machine`` tells; none if there are others."""
    figures = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return figures if figures.get("machine") == machine else {"machine": machine}


def keep(file: Path, figures: Figures, name: str, part: dict[str, Any]) -> None:
    """Write at once, so that an interrupt loses no more than the part at work."""
    figures[name] = part
    written = file.with_suffix(".new")
    written.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    written.replace(file)
