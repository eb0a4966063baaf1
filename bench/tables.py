"""Tables of the measurements' pages, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """A row of cells a line."""
    return "\n".join([line(head), f"|{'---|' * len(head)}", *map(line, rows)])


def line(cells: Iterable[str]) -> str:
    """One row of a table."""
    return f"| {' | '.join(cells)} |"
