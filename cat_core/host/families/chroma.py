"""Chroma: Flux's blocks, with modulations that a small network gives for all of them at once.

Host file: ``comfy/ldm/chroma/model.py``. Chroma Radiance is another class: it computes pixels of every token behind the
blocks, and is not served.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ...algorithm.macs import ModelCost
from .flux import Flux
from .hooks import linear_macs

MODULATIONS = 344
"""Rows that the network computes for every sample, whatever the number of blocks."""


class Chroma(Flux):
    """See :class:`cat_core.host.families.family.Family`."""

    name = "Chroma"
    classes = (("comfy.ldm.chroma.model", "Chroma"),)

    def matches(self, transformer: torch.nn.Module) -> bool:
        # blocks that are left out have no slots
        return super().matches(transformer) and not transformer.skip_mmdit and not transformer.skip_dit

    def cost(self, transformer: Any) -> ModelCost:
        return replace(
            super().cost(transformer), per_sample=MODULATIONS * linear_macs(transformer.distilled_guidance_layer)
        )

    def other_tokens(self, transformer: Any, text: int, extra: dict[str, Any]) -> int:
        # reference latents are given to it as to Flux, and not looked at
        return text
