"""Settings that were found to be good for a model: their files, and which of them are nearest to a run."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from filelock import FileLock
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass

from .algorithm.schedule import SHORT_RUN
from .settings import KNOBS, CATSettings, name_steps, parse_steps

LARGEST_FILE = 2**20
"""Bytes: some 800 entries."""
LOCK_SECONDS = 30
FARTHEST_STEPS = 1.5
"""Times as many or as few steps: further off, steps change so much more or less that nothing found tells of them."""
FARTHEST_SHAPE = 0.12
"""Of :func:`_distance`: a scheduler at another size is up to 0.1 off, a second pass at half denoise 0.16 and more."""


def _check_settings(value: Any) -> CATSettings:
    if isinstance(value, CATSettings) and value.focus_mask is None:
        return value
    if not isinstance(value, dict) or not set(value) <= set(KNOBS):
        raise ValueError(f"must be knobs by name, without a mask: {', '.join(KNOBS)}")
    return CATSettings(**value)


def _list_knobs(settings: CATSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in KNOBS}


Name = Annotated[str, StringConstraints(pattern=r"^[\w .,:()=+/-]{1,100}$")]
Number = Annotated[float, Field(ge=0, le=1e9)]
Sigma = Annotated[Number, AfterValidator(lambda sigma: float(f"{sigma:.5g}"))]
Settings = Annotated[CATSettings, PlainValidator(_check_settings), PlainSerializer(_list_knobs)]
_STRICT = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class Tuned:
    """What was found for one model and one kind of run. Raises ``ValueError`` for a value that is not allowed.

    Attributes:
        fingerprint: of the model's weights.
        model: its architecture, for people.
        sampler: its name in ComfyUI, with the options that are not its own.
        sigmas: of the run, one more than steps, falling; rounded to five digits.
        tokens: of its picture or video.
        guided: whether there was CFG.
        settings: what was found, as it was run: bounded by what the sampler bears, without a focus mask.
        computed: share of multiply-accumulates, 0 to 1.
        similarity: PSNR to the full picture in dB; None where it is not known.
        full_seconds, tuned_seconds: a run without and with these settings.
        version: of the pack that found them.
    """

    fingerprint: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    model: Name
    sampler: Name
    sigmas: Annotated[tuple[Sigma, ...], Field(min_length=2, max_length=1001)]
    tokens: Annotated[int, Field(ge=1, le=10**9)]
    guided: bool
    settings: Settings
    computed: Annotated[float, Field(ge=0, le=1)]
    similarity: Annotated[float, Field(ge=-1000, le=1000)] | None
    full_seconds: Number
    tuned_seconds: Number
    version: Name

    def __post_init__(self) -> None:
        if any(high <= low for high, low in pairwise(self.sigmas)):
            raise ValueError("sigmas must fall from step to step")

    @property
    def key(self) -> tuple:
        """What it was found for; of one key there is one entry."""
        return self.fingerprint, self.sampler, self.sigmas, self.tokens, self.guided

    @property
    def steps(self) -> int:
        """Of the run."""
        return len(self.sigmas) - 1

    def settings_for(self, steps: int) -> CATSettings:
        """The settings for a run of so many steps: those that are named keep their places in the run."""
        named = parse_steps("full_steps", self.settings.full_steps)
        return replace(self.settings, full_steps=name_steps(_carry_over(named, self.steps, steps)))

    def __str__(self) -> str:
        computed = f"{self.computed:.0%} was computed"
        likeness = "" if self.similarity is None else f" at {self.similarity:.1f} dB"
        return f"{self.sampler}, {self.steps} steps and {self.tokens} tokens, where {computed}{likeness}"


@dataclass(frozen=True, config=_STRICT)
class _File:
    format: Literal[1]
    tuned: tuple[Tuned, ...]


_FILE = TypeAdapter(_File)


def read(path: Path) -> list[Tuned]:
    """Entries of a file.

    Raises:
        ValueError: it cannot be read, or is no file of tuned settings: its name, the place, and what is allowed there.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise ValueError(f"it is larger than {LARGEST_FILE} bytes")
        return list(_FILE.validate_json(content).tuned)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (OSError, ValueError) as error:
        reason = str(error)
    # what is wrong may be as long as the file, and is shown in a terminal
    reason = "".join(filter(str.isprintable, reason[:300]))
    raise ValueError(f"{path.name} is no file of tuned settings: {reason}")


def read_folder(folder: Path) -> tuple[list[Tuned], list[str]]:
    """Entries of all ``*.json`` in a folder, which may be missing, and what is wrong with the files that have none."""
    found: list[Tuned] = []
    faults: list[str] = []
    for path in sorted(filter(Path.is_file, folder.glob("*.json"))):
        try:
            found += read(path)
        except ValueError as error:
            faults.append(str(error))
    return found, faults


def add(path: Path, tuned: Tuned) -> None:
    """Put an entry into a file, in place of one with the same key; what others add at the same time is kept.

    Raises:
        ValueError: what is there cannot be read, and stays as it is; or it would be too large.
        OSError: it cannot be written; ``filelock.Timeout`` where another process does not let go of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock"), timeout=LOCK_SECONDS):
        entries = [one for one in (read(path) if path.exists() else []) if one.key != tuned.key]
        content = _FILE.dump_json(_File(1, (*entries, tuned)))
        if len(content) > LARGEST_FILE:
            raise ValueError(f"{path.name} is full: it must not be larger than {LARGEST_FILE} bytes.")
        written = path.with_suffix(".new")
        written.write_bytes(content)
        os.replace(written, path)


def nearest(
    entries: Iterable[Tuned], fingerprint: str, sampler: str, guided: bool, sigmas: Sequence[float], tokens: int
) -> Tuned | None:
    """The entry for this model and sampler that is nearest by steps, then by noise levels, then by size; or None.

    Args:
        sigmas: of the run, one more than steps, falling.
        tokens: of its picture or video.
    """
    steps = len(sigmas) - 1
    if steps < 1:
        return None

    def far(one: Tuned) -> tuple[float, float, float]:
        return abs(math.log(one.steps / steps)), _distance(one.sigmas, sigmas), abs(math.log(one.tokens / tokens))

    near = (
        one
        for one in entries
        if (one.fingerprint, one.sampler, one.guided) == (fingerprint, sampler, guided)
        and (one.steps <= SHORT_RUN) == (steps <= SHORT_RUN)
        and far(one)[0] <= math.log(FARTHEST_STEPS)
        and far(one)[1] <= FARTHEST_SHAPE
    )
    return min(near, key=far, default=None)


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    """How far noise levels are apart on average over a run, of the highest; to a hundredth, so that size may decide."""
    times = np.linspace(0, 1, 33)
    first, second = (np.interp(times, np.linspace(0, 1, len(sigmas)), sigmas) for sigmas in (one, other))
    return round(float(np.abs(first - second).mean()) / max(one[0], other[0]), 2)


def _carry_over(named: Sequence[int], before: int, after: int) -> list[int]:
    """Steps of a run at the same places of a longer or shorter one; what lies between neighbours stays between them."""
    named = [step for step in named if step < before]
    moved = [round(step * (after - 1) / max(before - 1, 1)) for step in named]
    kept = set(moved)
    for (step, first), (following, last) in pairwise(zip(named, moved, strict=True)):
        if following == step + 1:
            kept.update(range(first, last))
    return sorted(kept)
