"""Stop watches for steps of the host's sampler and for parts of them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any
from unittest.mock import patch

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from cat_core.algorithm import selection
from cat_core.caching.kv import KVCache
from cat_core.host.pruning import Pruning
from cat_core.host.run import Run


def wait_for_device() -> None:
    """Let a GPU finish what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class StepClock:
    """Times every evaluation of the sampler, all wrappers of other nodes included."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on(self, model: ModelPatcher) -> ModelPatcher:
        """A clone that is timed. Wrappers nest in the order they are added: attach CAT Pruning to the clone."""
        clone = model.clone()
        clone.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "clock", self)
        return clone

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        wait_for_device()
        started = time.perf_counter()
        output = executor(*args, **kwargs)
        wait_for_device()
        self.seconds.append(time.perf_counter() - started)
        return output

    def take(self) -> list[float]:
        """Seconds of all evaluations since the last call."""
        taken, self.seconds = self.seconds, []
        return taken


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of seconds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Of one value or more."""
        low, middle, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
        return cls(middle, low, high)


@dataclass
class PartClock:
    """Seconds that the pack's own work takes inside of a run, by part and call."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @contextmanager
    def running(self) -> Iterator[PartClock]:
        """Time the parts while the context lasts; a GPU is waited for around each, which steps alone do not need."""
        places = {
            "clustering": (selection, "kmeans"),
            "selection": (selection.Selector, "select"),
            "cache filling": (KVCache, "store"),
            "cache renewal": (KVCache, "renew"),
            "pruned step": (Run, "_answer_pruned"),
            "full step": (Run, "_answer_full"),
            "proof": (Pruning, "_prove"),
        }
        with ExitStack() as stack:
            for part, (owner, name) in places.items():
                stack.enter_context(patch.object(owner, name, self._timed(part, getattr(owner, name))))
            yield self

    def _timed(self, part: str, function: Any) -> Any:
        def timed(*args: Any, **kwargs: Any) -> Any:
            wait_for_device()
            started = time.perf_counter()
            result = function(*args, **kwargs)
            wait_for_device()
            self.seconds[part].append(time.perf_counter() - started)
            return result

        return timed
