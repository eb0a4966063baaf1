"""Chroma: Flux's blocks, with modulations that a small network gives for all of them at once.

Host file: ``comfy/ldm/chroma/model.py``. Chroma Radiance is another class: it computes pixels of every token behind the
blocks, and is not served.

Tested on ComfyUI 0.30.0, 0.24.0, 0.18.2, 0.3.75.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...algorithm.macs import ModelCost
from ..architecture.costs import linear_macs
from .flux import Flux

MODULATIONS = 344
"""Rows that the network computes for every sample, whatever the number of blocks."""


class Chroma(Flux):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "Chroma"
    classes = (("comfy.ldm.chroma.model", "Chroma"),)
    references = False  # they are given to it as to Flux, and not looked at

    def matches(self, transformer: Any) -> bool:
        # blocks that are left out have no slots
        return super().matches(transformer) and not transformer.skip_mmdit and not transformer.skip_dit

    def cost(self, transformer: Any) -> ModelCost:
        return replace(
            super().cost(transformer), per_sample=MODULATIONS * linear_macs(transformer.distilled_guidance_layer)
        )
