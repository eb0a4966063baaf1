"""What a run must give that cannot compute tokens by themselves: idle steps, a reason, and their picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from cat_core.host.journal import IDLE_INSTEAD
from cat_core.host.patcher import attach, last_report
from cat_core.settings import CATSettings
from contract.oracle import Oracle

Sample = Callable[[Any], torch.Tensor]
"""Samples with a model and gives the picture, the same for the same model."""


def relative_error(one: torch.Tensor, other: torch.Tensor) -> float:
    """Distance of two latents over the size of the second."""
    return float((one - other).norm() / other.norm())


def idle_instead(model: Any, settings: CATSettings, sample: Sample, by_proof: bool = False) -> str:
    """Sample with settings that ask for tokens; return why there were idle steps only. Everything else is a failure.

    The picture must be that of settings that ask for idle steps, and that of a dense run with the same forecasts.
    Where the proof finds out, ``by_proof``, the step behind it is full, which these settings do not have.
    """
    asked, idle = attach(model, settings), attach(model, settings.without_tokens())
    picture = sample(asked)
    report = last_report(asked)
    (reason,) = report.reasons
    assert reason.startswith(IDLE_INSTEAD), reason
    assert report.count("pruned") == 0
    assert report.count("idle") >= 2
    assert ("proof failed" in reason) == by_proof
    if not by_proof:
        assert torch.equal(picture, sample(idle))
        assert [step.kind for step in report.steps] == [step.kind for step in last_report(idle).steps]
    error = relative_error(picture, sample(Oracle(report, settings, serves=lambda _: False).attach(model)))
    # idle steps that change nothing prove nothing
    assert error < min(1e-4, relative_error(picture, sample(model)) / 10)
    return reason
