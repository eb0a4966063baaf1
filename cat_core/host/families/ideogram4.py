"""Ideogram 4: single blocks over one sequence of text and image tokens, or of image tokens alone.

Host file: ``comfy/ldm/ideogram4/model.py``. The negative side of guidance is a second model of the same kind, without
text. Prompts of unequal length in one batch come with a mask of all rows by all rows, which is not served. Rotary
embeddings have a row per token of the whole sequence.

Tested on ComfyUI 0.30.0, 0.24.0. Older ones do not have it.
"""

from __future__ import annotations

from typing import Any

import torch

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from ..architecture.costs import linear_macs, model_cost, parts_macs
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout, Rest
from ..architecture.rows import gather_last_rows, gather_waves

Rotary = torch.Tensor | tuple[torch.Tensor, ...]


def _gather_rotary(rotary: Rotary, selection: Selection) -> Rotary:
    """A matrix for every token, for which older hosts have cosines and sines."""
    if isinstance(rotary, tuple):
        return gather_waves(rotary, selection)
    return gather_last_rows(rotary, selection)


class Ideogram4(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "Ideogram 4"
    classes = (("comfy.ldm.ideogram4.model", "Ideogram4Transformer2DModel"),)
    layout = Layout(
        blocks=(Blocks("layers"),),
        image=0,
        rest=Rest.IN_FRONT,
        per_token={2: _gather_rotary},  # behind the tokens and a mask
    )

    def patch(self, transformer: Any) -> tuple[int, int, int]:
        return 1, 1, 1  # latents come with 2 x 2 places in their channels

    def cost(self, transformer: Any) -> ModelCost:
        layers, projections = transformer.layers, (transformer.input_proj, transformer.final_layer.linear)
        ends = linear_macs(*projections)
        return model_cost(
            transformer,
            text=ends + linear_macs(transformer.llm_cond_proj),  # the ends are computed for text too
            both=parts_macs(layers, "attention", "feed_forward"),
            ends=ends,
            sample=ends,  # counted for both
            joint_widths=(transformer.input_proj.out_features,) * len(layers),
        )
