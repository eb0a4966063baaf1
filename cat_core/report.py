"""What a run did: steps by kind, tokens, multiply-accumulates, time, memory, and why anything ran in full."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from .algorithm.macs import ModelCost
from .settings import CATSettings

KINDS = ("full", "pruned", "idle", "skipped")
LEAST_SECONDS = 0.1
"""That are worth telling."""
FEW_TOKENS = 256
"""Below, a step's time hardly depends on tokens: a quarter of them leaves three quarters of it (docs/speed.md)."""


@dataclass
class Call:
    """One conditioning's part of a model call: how many of its image tokens went through the transformer."""

    samples: int
    tokens: int
    computed: int
    text: int
    beside: int = 0
    """Rows that are computed as image tokens, and always: pads, and references of some families."""
    companions: int = 0
    """Tokens of another latent that goes along, say of a video's sound; they are always computed."""

    def count(self, macs: Callable[..., int], computed: int) -> int:
        """MACs of the call if so many image tokens are computed, by a formula of the model's cost."""
        rows = self.tokens + self.beside, computed + self.beside, self.text, self.companions
        return self.samples * macs(*rows)


@dataclass
class Step:
    """One denoising step as it was carried out."""

    number: int
    sigma: float
    calls: list[Call] = field(default_factory=list)
    selected: np.ndarray | None = None
    """[B, (frames,) rows, columns] bool: tokens computed at a pruned step."""
    seconds: float | None = None
    """None where no time is kept."""

    @property
    def kind(self) -> str:
        """``full``, ``pruned`` or ``idle``, from what was computed; ``skipped`` if no call reached the pruner."""
        if not self.calls:
            return "skipped"
        if all(call.computed == call.tokens for call in self.calls):
            return "full"
        return "pruned" if any(call.computed for call in self.calls) else "idle"

    @property
    def tokens(self) -> tuple[int, int]:
        """(computed, all) image tokens of one sample, the most over the step's calls."""
        return max((c.computed for c in self.calls), default=0), max((c.tokens for c in self.calls), default=0)


@dataclass
class Report:
    """One sampling run. Holds numbers and small numpy arrays only, no tensors."""

    family: str
    settings: CATSettings | None = None
    cost: ModelCost | None = None
    steps: list[Step] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    """What was done in place of what was planned, and why; empty when all went as planned."""
    notes: list[str] = field(default_factory=list)
    """What else is to be known of the run."""
    seconds: float = 0.0
    cache_bytes: int = 0
    clusters: np.ndarray | None = None
    """[B, (frames,) rows, columns] cluster numbers."""
    preview: np.ndarray | None = None
    """[H, W, 3] in 0..1: colours of the first picture, or of its middle frame, that the run made."""
    finished: bool = False

    def count(self, kind: str) -> int:
        """Number of steps of a kind, see :attr:`Step.kind`."""
        return sum(step.kind == kind for step in self.steps)

    def share(self, step: Step) -> float:
        """What a step computed of a full one, in MACs, or in tokens for a family without a cost formula."""
        done, whole = self._macs(step.calls) if self.cost else step.tokens
        return done / whole if whole else 0.0

    def macs(self, attention: bool = True) -> tuple[int, int]:
        """(computed, un-accelerated) multiply-accumulates of the run; (0, 0) for a family without a cost formula."""
        return self._macs([call for step in self.steps for call in step.calls], attention)

    def _macs(self, calls: list[Call], attention: bool = True) -> tuple[int, int]:
        if self.cost is None:
            return 0, 0
        count = self.cost.total if attention else self.cost.linear
        done = sum(call.count(count, call.computed) for call in calls if call.computed)
        return done, sum(call.count(count, call.tokens) for call in calls)

    @property
    def mac_ratio(self) -> float | None:
        """How many times fewer MACs than without pruning, attention counted; None where they cannot be counted."""
        done, whole = self.macs()
        return whole / done if done else None

    @property
    def saved_seconds(self) -> float | None:
        """How much longer the run had taken if all its steps were as its own full ones; None where that is not known.

        The first step is left out: it pays for what is made once.
        """
        timed = [(step.kind, step.seconds) for step in self.steps if step.seconds is not None]
        full = [seconds for kind, seconds in timed[1:] if kind == "full"]
        if not full or len(timed) < len(self.steps):
            return None
        return sum(median(full) - seconds for kind, seconds in timed if kind in ("pruned", "idle"))

    def to_dict(self) -> dict:
        """All of the report but the token pictures, ready for JSON."""
        done, whole = self.macs()
        linear_done, linear_whole = self.macs(attention=False)
        return {
            "family": self.family,
            "settings": json.loads(self.settings.to_json()) if self.settings else None,
            "finished": self.finished,
            "steps": {kind: self.count(kind) for kind in KINDS},
            "macs": {"computed": done, "unaccelerated": whole, "saved": round(1 - done / whole, 4) if whole else None},
            "linear_macs": {
                "computed": linear_done,
                "unaccelerated": linear_whole,
                "saved": round(1 - linear_done / linear_whole, 4) if linear_whole else None,
            },
            "seconds": round(self.seconds, 3),
            "saved_seconds": None if self.saved_seconds is None else round(self.saved_seconds, 3),
            "cache_bytes": self.cache_bytes,
            "reasons": self.reasons,
            "notes": self.notes,
            "per_step": [
                {
                    "step": s.number,
                    "kind": s.kind,
                    "sigma": round(s.sigma, 5),
                    "computed": s.tokens[0],
                    "tokens": s.tokens[1],
                }
                for s in self.steps
            ],
        }

    def text(self) -> str:
        """A few lines for people."""
        lines = [f"CAT Pruning on {self.family}: {self.summary()}"]
        if not self.finished:
            lines.append("The run did not finish.")
        if self.steps:
            kinds = ", ".join(f"{self.count(kind)} {kind}" for kind in KINDS if self.count(kind))
            lines.append(f"Steps: {kinds}; {self.seconds:.1f} s; caches {self.cache_bytes / 2**20:.1f} MiB")
        done, whole = self.macs()
        linear_done, linear_whole = self.macs(attention=False)
        if whole:
            lines.append(
                f"MACs: {whole / 1e12:.3f} T -> {done / 1e12:.3f} T, {1 - done / whole:.1%} saved "
                f"(linear layers alone {1 - linear_done / linear_whole:.1%})"
            )
        return "\n".join([*lines, *self._remarks()])

    def brief(self) -> str:
        """The summary, and a line for everything that was not as planned or is to be known."""
        summary = self.summary()
        return "\n".join([summary[0].upper() + summary[1:], *self._remarks()])

    def _remarks(self) -> list[str]:
        lines = [f"{reason[0].upper()}{reason[1:]}." for reason in self.reasons]
        lines += [f"Note: {note}." for note in self.notes]
        tokens = max((step.tokens[1] for step in self.steps), default=0)
        if self.count("pruned") and tokens < FEW_TOKENS:
            lines.append(f"Note: of a picture of only {tokens} tokens pruned steps save little time.")
        return lines

    def summary(self) -> str:
        """One line: the ratio and the steps that saved something, or that nothing was pruned."""
        pruned = self.count("pruned") + self.count("idle")
        if not pruned:
            return "nothing was pruned"
        ratio = f"{self.mac_ratio:.2f}x fewer MACs, " if self.mac_ratio else ""
        saved = self.saved_seconds or 0.0
        time = f", {saved:.1f} s saved" if saved >= LEAST_SECONDS else ""
        return f"{ratio}{pruned} of {len(self.steps)} steps pruned or idle{time}"
