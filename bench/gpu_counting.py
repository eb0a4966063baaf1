"""What steps ask of a GPU: how often they wait for it, how many kernels they launch, and where launching takes longer.

A GPU works on its own while the CPU goes on and launches what comes next. It idles where the CPU waits for an answer
(a synchronisation), and where launching a part's kernels takes longer than computing them: that part is launch-bound.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from bench.speed_clock import PARTS, StepWatch, each_part, wait_for_device
from bench.speed_measuring import watch_steps
from bench.speed_models import Setup
from cat_core.settings import CATSettings

SYNCHRONISES = "called a synchronizing CUDA operation"
"""PyTorch's warning, where it is asked for it (c10/cuda/CUDAFunctions.cpp)."""
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch")
"""How the runtime's functions begin that start kernels, or a graph of them."""
STEP = "step"
NAMES = (STEP, *PARTS)
"""Of what is timed."""


def counts(setup: Setup, ways: dict[str, CATSettings]) -> dict[str, Any]:
    """Of every kind of step, see :func:`bench.speed_measuring.watch_steps`; None without a GPU.

    Returns:
        ``synchronisations`` and ``launches``, medians by kind; ``seconds`` by kind and part, (launching, computing).
        The profiler's own work is part of launching.
    """
    if not torch.cuda.is_available():
        return {"counted": None}
    with each_part(record_function):
        noted, _ = watch_steps(setup, ways, 1, StepCounter())
    return {"counted": {kind: summarise(steps) for kind, steps in noted.items()}}


class StepCounter(StepWatch):
    """Notes what :func:`read_events` finds, and the synchronisations."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        wait_for_device()
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
            with collecting() as caught, record_function(STEP):
                yield
            # not one of the step's, and whoever reads the events wants all of them
            wait_for_device()
        self.noted.append({"synchronisations": count_waits(caught), **read_events(profiler.events())})


@contextmanager
def collecting() -> Iterator[list[warnings.WarningMessage]]:
    """Have synchronisations warned of, and collect all warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield caught
        finally:
            torch.cuda.set_sync_debug_mode("default")


def count_waits(caught: Iterable[warnings.WarningMessage]) -> int:
    """Warnings of synchronisations among others."""
    return sum(SYNCHRONISES in str(warning.message) for warning in caught)


def read_events(events: Iterable[Any]) -> dict[str, Any]:
    """Launches, and seconds by :data:`NAMES` that the CPU takes to launch and the GPU to compute.

    Args:
        events: of the profiler (``torch.autograd.profiler_util.FunctionEvent``).
    """
    ours = [event for event in events if event.device_type == DeviceType.CPU]
    seconds: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for event in ours:
        if event.name in NAMES:
            launching, computing = seconds[event.name]
            seconds[event.name] = launching + event.cpu_time_total * 1e-6, computing + _computing(event) * 1e-6
    return {"launches": sum(event.name.startswith(LAUNCHES) for event in ours), "seconds": dict(seconds)}


def _computing(event: Any) -> float:
    """Microseconds of the kernels that an event and those within it launched."""
    # the profiler gives the names of parts to stretches of the GPU's time too, which are no kernels
    own = sum(kernel.duration for kernel in event.kernels if kernel.name not in NAMES)
    return own + sum(map(_computing, event.cpu_children))


def summarise(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of notes of steps of one kind."""
    parts = {name for step in steps for name in step["seconds"]}
    pairs = {name: [step["seconds"][name] for step in steps if name in step["seconds"]] for name in parts}
    return {
        **{count: median(step[count] for step in steps) for count in ("synchronisations", "launches")},
        "seconds": {name: [median(side) for side in zip(*pairs[name], strict=True)] for name in sorted(pairs)},
    }
