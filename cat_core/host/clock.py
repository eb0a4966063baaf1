"""How long each step took, by the device's own clock: nothing waits for it before the run has ended."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import torch


class StepClock:
    """Marks when steps begin.

    Args:
        device: that the model runs on. Others than CPU and CUDA keep no time that is known to be right.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.marks: list[tuple[int, Any]] = []

    def begin(self, step: int) -> None:
        """An evaluation of a step begins; one that another was evaluated before goes on."""
        self.marks.append((step, self._now()))

    def read(self) -> dict[int, float]:
        """Seconds by the number of the step, until now; none where time is not known."""
        marks = [*self.marks, (-1, self._now())]
        if self.device.type == "cuda" and len(marks) > 1:
            marks[-1][1].synchronize()
        seconds: dict[int, float] = {}
        for (step, start), (_, end) in pairwise(marks):
            if start is not None:
                seconds[step] = seconds.get(step, 0.0) + self._between(start, end)
        return seconds

    def _now(self) -> Any:
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self.device))
            return event
        return time.perf_counter() if self.device.type == "cpu" else None

    def _between(self, start: Any, end: Any) -> float:
        return start.elapsed_time(end) / 1000 if self.device.type == "cuda" else end - start
