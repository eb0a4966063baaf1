"""The benchmark's raw numbers: a CSV file that grows by a row per sampled picture."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

KINDS = {"str": str, "int": int, "float": float}


@dataclass(frozen=True)
class Row:
    """One sampled picture next to its target.

    Attributes:
        sampler, target_steps, prompt, seed: the target.
        method, group, steps: how this picture was sampled.
        fingerprint: of the method and of all that every sample depends on.
        engine: fingerprint of the engine for methods that use CAT Pruning (:mod:`bench.engine`), otherwise empty.
        host: version of ComfyUI.
        cost: MACs, attention included, over the target's.
        psnr: dB · ssim, haarpsi: 0..1 · latent_error: relative.
        note: why CAT Pruning ran something in full.
    """

    sampler: str
    target_steps: int
    prompt: str
    seed: int
    method: str
    group: str
    steps: int
    fingerprint: str
    engine: str
    host: str
    cost: float
    psnr: float
    ssim: float
    haarpsi: float
    latent_error: float
    note: str

    @property
    def place(self) -> tuple[str, int, str, int, str]:
        """What this row is a measurement of."""
        return self.sampler, self.target_steps, self.prompt, self.seed, self.method


class Records:
    """The rows of a CSV file. Where a thing was measured more than once, the last row counts.

    Args:
        path: created with the first row.
    """

    def __init__(self, path: Path):
        self.path = path
        self.rows = {row.place: row for row in read_rows(path)}

    def has(self, place: tuple, fingerprint: str, engine: str) -> bool:
        """Whether this was measured with the same fingerprint and engine."""
        row = self.rows.get(place)
        return row is not None and (row.fingerprint, row.engine) == (fingerprint, engine)

    def append(self, row: Row) -> None:
        """Write a row at once, so that an interrupt loses no more than the picture at work."""
        new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = _writer(file)
            if new:
                writer.writeheader()
            writer.writerow(_round(row))
        self.rows[row.place] = round_row(row)


def read_rows(path: Path) -> list[Row]:
    """All rows of a CSV file, without those that were cut off; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for record in csv.DictReader(file) if (row := _parse(record))]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a CSV file anew."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = _writer(file)
        writer.writeheader()
        writer.writerows(map(_round, rows))


def _writer(file) -> csv.DictWriter:
    return csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")


def round_row(row: Row) -> Row:
    """The row as it is read from a file: costs that are equal there are equal here."""
    return Row(**{name: type(getattr(row, name))(value) for name, value in _round(row).items()})


def _round(row: Row) -> dict:
    return {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in asdict(row).items()}


def _parse(record: dict[str, str]) -> Row | None:
    try:
        return Row(**{field.name: KINDS[str(field.type)](record[field.name]) for field in fields(Row)})
    except (KeyError, TypeError, ValueError):
        return None


def fingerprint(*parts: str) -> str:
    """Ten hexadecimal digits that stand for ``parts``."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]
