"""What the engine does, written down in docs/engine.json: which engine a measurement is of.

A small random model is sampled with every preset and three settings more, and in runs whose sampler or length bounds
the presets. Noted are, for each run, the tokens computed at every step, how far the latent is from the unpatched one,
and, where nothing is bounded, the tensor operations of every step. Quality rests on the first two, speed on the first
and the last. A refactoring that changes none of them is the same engine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfyui_version import __version__ as host_version
from torch.utils._python_dispatch import TorchDispatchMode

from bench.metrics import relative_error
from bench.records import fingerprint
from bench.small_model import sample, small_model
from cat_core.host.patcher import attach, last_report
from cat_core.settings import PRESETS, CATSettings
from tools.host import ROOT

FILE = ROOT / "docs" / "engine.json"
QUALITY, SPEED = ("tokens", "distances"), ("tokens", "operations")
"""Parts of the file that a measurement rests on."""
SAMPLERS, STEPS = ("euler", "dpmpp_2m"), 28
SETTINGS = {
    **PRESETS,
    "tokens at every step": CATSettings(keep_ratio=0.4, pruned_interval=1, refresh_interval=6, propagation=0.5),
    "no refresh": CATSettings(keep_ratio=0.6, pruned_interval=3, refresh_interval=0, correction=0.3, forecast=1.0),
    "other clusters": CATSettings(
        keep_ratio=0.5,
        clusters=5,
        cluster_share=0.6,
        staleness_decay=0.9,
        position_weight=10.0,
        pruned_interval=1,
        warmup_steps=2,
        final_full_steps=1,
    ),
}
BOUNDED = {
    "euler, 20 steps": ("euler", 20, 4.0),
    "dpmpp_2m, 20 steps": ("dpmpp_2m", 20, 4.0),
    "euler_ancestral, 20 steps": ("euler_ancestral", 20, 4.0),
    "euler, 12 steps": ("euler", 12, 4.0),
    "dpmpp_2m, 12 steps": ("dpmpp_2m", 12, 4.0),
    "euler_ancestral, 12 steps": ("euler_ancestral", 12, 4.0),
    "euler, 8 steps": ("euler", 8, 4.0),
    "euler, 8 steps without CFG": ("euler", 8, 1.0),
}
"""Runs whose sampler or length bounds the presets."""
CLOSE = 0.001
"""Distances that differ by this share are the same: machines round differently, and then take other tokens."""

Behaviour = dict[str, dict[str, Any]]


class OperationClock(TorchDispatchMode):
    """Counts the tensor operations of every evaluation of a run. A wrapper of the sampler's calls."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[int] = []

    def take(self) -> list[int]:
        """Counts of all evaluations since the last call."""
        taken, self.counts = self.counts, []
        return taken

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.counts.append(0)
        with self:
            return executor(*args, **kwargs)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[-1] += 1
        return func(*args, **(kwargs or {}))


def measure() -> Behaviour:
    """What the engine in the tree does."""
    found: Behaviour = {"tokens": {}, "distances": {}, "operations": {"on": _platform()}}
    # wrappers nest in the order they are added: the pack's own work is counted if it is attached later
    plain, clock = small_model(), OperationClock()
    plain.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "operations", clock)
    with _exactly(), torch.inference_mode():
        for sampler in SAMPLERS:
            sample(plain, sampler, 1)
            clock.take()  # with what is made once
            unpatched = sample(plain, sampler, STEPS)
            found["operations"][f"{sampler}, unpatched"] = clock.take()
            for name, settings in SETTINGS.items():
                run = f"{sampler}, {name}"
                _note(found, run, attach(plain, settings), (sampler, STEPS), unpatched)
                found["operations"][run] = clock.take()
        for name, given in BOUNDED.items():
            unpatched = sample(plain, *given)
            for preset in ("balanced", "quality"):
                _note(found, f"{name}, {preset}", attach(plain, PRESETS[preset]), given, unpatched)
    return found


def _note(found: Behaviour, run: str, model: ModelPatcher, given: tuple, unpatched: torch.Tensor) -> None:
    latent, report = sample(model, *given), last_report(model)
    assert report is not None
    found["tokens"][run] = [step.tokens[0] for step in report.steps]
    found["distances"][run] = float(f"{relative_error(latent, unpatched):.4g}")


@contextmanager
def _exactly() -> Iterator[None]:
    """One thread and exact products, whatever a benchmark has set."""
    threads, matmul = torch.get_num_threads(), torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    precision = matmul.fp32_precision
    torch.set_num_threads(1)
    matmul.fp32_precision = "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision = precision
        torch.set_num_threads(threads)


def _platform() -> str:
    return f"ComfyUI {host_version}, torch {torch.__version__}"


def read_written(file: Path = FILE) -> Behaviour:
    """What is written down."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def same(part: str, one: Behaviour, other: Behaviour) -> bool:
    """Whether a part of two behaviours is the same engine's, operations on the same host and torch."""
    left, right = one.get(part, {}), other.get(part, {})
    if part != "distances":
        return left == right
    return left.keys() == right.keys() and all(abs(left[run] / right[run] - 1) <= CLOSE for run in left)


def version(parts: tuple[str, ...], file: Path = FILE) -> str:
    """Fingerprint of the engine that is written down, as far as ``parts`` go."""
    behaviour = read_written(file)
    return fingerprint(*(json.dumps(behaviour[part]) for part in parts))


def identify(parts: tuple[str, ...], file: Path = FILE) -> str:
    """Fingerprint of the engine in the tree. Where it does otherwise than is written, it is written anew."""
    found, before = measure(), read_written(file)
    kept = {part: before[part] if same(part, before, found) else found[part] for part in parts}
    if kept != {part: before.get(part) for part in parts}:
        _write({part: kept.get(part) or before.get(part) or found[part] for part in found}, file)
    return version(parts, file)


def _write(behaviour: Behaviour, file: Path) -> None:
    """One run a line."""
    parts = []
    for part, runs in behaviour.items():
        lines = ",\n".join(f"  {json.dumps(run)}: {json.dumps(value)}" for run, value in runs.items())
        parts.append(f" {json.dumps(part)}: {{\n{lines}\n }}")
    file.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
