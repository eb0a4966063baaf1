"""What is called inside Raylight's workers: plain data comes and goes, as they know this pack by another name."""

from __future__ import annotations

from typing import Any

import torch
from comfy.model_patcher import ModelPatcher

from ..settings import CATSettings
from . import patcher, telling


def attach(model: ModelPatcher, knobs: dict[str, Any] | None, against_tokens: str | None) -> ModelPatcher:
    """A clone of a worker's model whose runs are pruned. A worker keeps its model: what it carries already is replaced.

    Args:
        knobs: the fields of :class:`CATSettings`; None for the preset that the model's family names.
        against_tokens: why there must be no pruned steps, or None.
    """
    settings = None if knobs is None else CATSettings(**knobs)
    return patcher.attach(patcher.detach(model), settings, against_tokens=against_tokens)


def detach(model: ModelPatcher) -> ModelPatcher:
    """A clone of a worker's model without CAT Pruning."""
    return patcher.detach(model)


def tell(model: ModelPatcher, latent: torch.Tensor) -> tuple:
    """The fields of :class:`~cat_core.host.telling.Told` of a latent."""
    return tuple(telling.tell(model, latent))
