"""What the report's nodes tell of a latent: data and a picture, as plain as they are shown and sent."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from comfy.model_patcher import ModelPatcher

from ..picture import draw
from ..report import Report
from .patcher import last_report, report_of


class Told(NamedTuple):
    """A report in plain data.

    Attributes:
        text: a few lines.
        report: :meth:`Report.to_dict`, empty where there is none.
        picture: float32 [H, W, 3] in 0..1.
        of_this: whether it is of the run that made the latent.
    """

    text: str
    report: dict
    picture: np.ndarray
    of_this: bool


def tell_nothing(why: str) -> Told:
    """In place of a report that there is not."""
    return Told(why, {}, draw(Report("")), False)


def tell(model: ModelPatcher, latent: torch.Tensor) -> Told:
    """Of the run of this patched model that made a latent [B, C, (T,) H, W], else of the last one, else why of none."""
    try:
        own, report = report_of(model, latent), last_report(model)
    except ValueError as error:
        return tell_nothing(str(error))
    if own:
        return Told(own.text(), own.to_dict(), draw(own), True)
    if report:
        text = f"{report.text()}\nNote: of the model's last run; it did not make this latent."
        return Told(text, report.to_dict(), draw(report), False)
    return tell_nothing("No run yet: connect the very model that goes into the sampler.")
