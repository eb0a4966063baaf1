"""What a run did: steps by kind, tokens, multiply-accumulates, time, memory, and why anything ran in full."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np

from .algorithm.macs import ModelCost
from .settings import CATSettings

KINDS = ("full", "pruned", "idle", "skipped")


@dataclass
class Call:
    """One conditioning's part of a model call: how many of its image tokens went through the transformer."""

    samples: int
    tokens: int
    computed: int
    text: int


@dataclass
class Step:
    """One denoising step as it was carried out."""

    number: int
    sigma: float
    calls: list[Call] = field(default_factory=list)
    selected: np.ndarray | None = None
    """[B, (frames,) rows, columns] bool: tokens computed at a pruned step."""

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
    """Why something ran in full that was to be pruned; empty when all went as planned."""
    notes: list[str] = field(default_factory=list)
    """What else is to be known of the run."""
    seconds: float = 0.0
    cache_bytes: int = 0
    clusters: np.ndarray | None = None
    """[B, (frames,) rows, columns] cluster numbers."""
    finished: bool = False

    def count(self, kind: str) -> int:
        """Number of steps of a kind, see :attr:`Step.kind`."""
        return sum(step.kind == kind for step in self.steps)

    def macs(self, attention: bool = True) -> tuple[int, int]:
        """(computed, un-accelerated) multiply-accumulates of the run; (0, 0) for a family without a cost formula."""
        if self.cost is None:
            return 0, 0
        count = self.cost.total if attention else self.cost.linear
        calls = [call for step in self.steps for call in step.calls]
        done = sum(c.samples * count(c.tokens, c.computed, c.text) for c in calls if c.computed)
        return done, sum(c.samples * count(c.tokens, c.tokens, c.text) for c in calls)

    @property
    def mac_ratio(self) -> float | None:
        """How many times fewer MACs than without pruning, attention counted; None where they cannot be counted."""
        done, whole = self.macs()
        return whole / done if done else None

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
        lines += [f"Ran in full: {reason}." for reason in self.reasons]
        lines += [f"Note: {note}." for note in self.notes]
        return "\n".join(lines)

    def summary(self) -> str:
        """One line: the ratio and the steps that saved something, or that nothing was pruned."""
        pruned = self.count("pruned") + self.count("idle")
        if not pruned:
            return "nothing was pruned"
        ratio = f"{self.mac_ratio:.2f}x fewer MACs, " if self.mac_ratio else ""
        return f"{ratio}{pruned} of {len(self.steps)} steps pruned or idle"

    def picture(self, cell: int = 4, columns: int = 7) -> np.ndarray:
        """Which tokens each step computed, of the first picture or its middle frame: float32 [H, W, 3] in 0..1.

        One tile a step, in order: computed tokens are bright, others dark, cluster borders are lines. Full steps are
        wholly bright, idle ones wholly grey. Steps on a grid of another size show no tokens.
        """
        grid = next((step.selected.shape[-2:] for step in self.steps if step.selected is not None), (32, 32))
        tiles = [_tile(step, grid, cell, self.clusters) for step in self.steps] or [np.zeros((64, 64, 3), np.float32)]
        gap = 6
        height, width = tiles[0].shape[:2]
        rows = -(-len(tiles) // columns)
        across = min(columns, len(tiles))
        sheet = np.full((rows * (height + gap) + gap, across * (width + gap) + gap, 3), 0.08, np.float32)
        for i, tile in enumerate(tiles):
            top, left = gap + i // columns * (height + gap), gap + i % columns * (width + gap)
            sheet[top : top + height, left : left + width] = tile
        return sheet


_COLOURS = {
    "full": (0.30, 0.62, 0.95),
    "pruned": (0.98, 0.72, 0.22),
    "idle": (0.17, 0.17, 0.19),
    "skipped": (0.05, 0.05, 0.05),
}


def _tile(step: Step, grid: tuple[int, ...], cell: int, clusters: np.ndarray | None) -> np.ndarray:
    colour = np.array(_COLOURS[step.kind], np.float32)
    computed = np.full(grid, step.kind != "pruned")
    if step.selected is not None and step.selected.shape[-2:] == grid:
        computed = _shown(step.selected)
    tile = np.where(computed[..., None], colour, colour * 0.25)
    tile = tile.repeat(cell, 0).repeat(cell, 1).astype(np.float32)
    if clusters is not None and clusters.shape[-2:] == grid and step.kind == "pruned":
        label = _shown(clusters).repeat(cell, 0).repeat(cell, 1)
        border = np.zeros(label.shape, bool)
        border[:, 1:] |= label[:, 1:] != label[:, :-1]
        border[1:] |= label[1:] != label[:-1]
        tile[border] = 0.75 * tile[border] + 0.25
    return tile


def _shown(batch: np.ndarray) -> np.ndarray:
    """[B, (frames,) rows, columns] -> the first picture's, or its middle frame's, [rows, columns]."""
    return batch[0] if batch.ndim == 3 else batch[0, batch.shape[1] // 2]
