"""Watches for steps of the host's sampler and for parts of them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
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


def largest_memory() -> int | None:
    """Bytes of a GPU that were in use at once since the last call, None without one."""
    if not torch.cuda.is_available():
        return None
    most = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return most


class StepWatch(ABC):
    """Notes something of every evaluation of the sampler, all wrappers of other nodes included."""

    def __init__(self) -> None:
        self.noted: list[Any] = []

    def on(self, model: ModelPatcher) -> ModelPatcher:
        """A clone that is watched. Wrappers nest in the order they are added: attach CAT Pruning to the clone."""
        clone = model.clone()
        clone.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "watch", self)
        return clone

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        with self.watching():
            return executor(*args, **kwargs)

    @abstractmethod
    def watching(self) -> AbstractContextManager[None]:
        """Around an evaluation; what is noted of it is in :attr:`noted` at the end."""

    def take(self) -> list[Any]:
        """What was noted of all evaluations since the last call."""
        taken, self.noted = self.noted, []
        return taken


class StepClock(StepWatch):
    """Notes seconds."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        wait_for_device()
        started = time.perf_counter()
        yield
        wait_for_device()
        self.noted.append(time.perf_counter() - started)


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


PARTS = {
    "clustering": (selection, "kmeans"),
    "selection": (selection.Selector, "select"),
    "cache filling": (KVCache, "store"),
    "cache renewal": (KVCache, "renew"),
    "idle step": (Run, "_answer_idle"),
    "pruned step": (Run, "_answer_pruned"),
    "full step": (Run, "_answer_full"),
    "proof": (Pruning, "_prove"),
}
"""The pack's own functions, by what they do; those of steps answer a call of the model."""


@contextmanager
def each_part(around: Callable[[str], AbstractContextManager]) -> Iterator[None]:
    """Put a context around every call of :data:`PARTS`, by its name, while this one lasts."""
    with ExitStack() as stack:
        for part, (owner, name) in PARTS.items():
            stack.enter_context(patch.object(owner, name, _within(around, part, getattr(owner, name))))
        yield


def _within(around: Callable[[str], AbstractContextManager], part: str, function: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        with around(part):
            return function(*args, **kwargs)

    return call


@dataclass
class PartClock:
    """Seconds that the pack's own work takes inside of a run, by part and call."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def running(self) -> AbstractContextManager[None]:
        """Time the parts while the context lasts; a GPU is waited for around each, which steps alone do not need."""
        return each_part(self._timing)

    @contextmanager
    def _timing(self, part: str) -> Iterator[None]:
        wait_for_device()
        started = time.perf_counter()
        yield
        wait_for_device()
        self.seconds[part].append(time.perf_counter() - started)
