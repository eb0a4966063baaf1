"""ERNIE-Image: single blocks over one sequence of image, then text tokens.

Host file: ``comfy/ldm/ernie/model.py``. The blocks have no slots and are given no ``transformer_options``: attention
cannot be overridden. Rotary embeddings have a row per token of the whole sequence.

Tested on ComfyUI 0.30.0, 0.24.0. Older ones do not have it.
"""

from __future__ import annotations

from typing import Any

from ...algorithm.macs import ModelCost
from ..architecture.blind import compute_as_class
from ..architecture.costs import linear_macs, model_cost
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout, Rest


class ErnieImage(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "ERNIE-Image"
    classes = (("comfy.ldm.ernie.model", "ErnieImageModel"),)
    layout = Layout(
        blocks=(Blocks("layers"),),
        image=0,
        rest=Rest.BEHIND,
        per_token={1: 1},  # rotary embeddings, behind the tokens
        computes={"self_attention": compute_as_class},
    )

    def cost(self, transformer: Any) -> ModelCost:
        layers, output = transformer.layers, linear_macs(transformer.final_linear)
        return model_cost(
            transformer,
            text=output + linear_macs(transformer.text_proj),  # the output is computed for text too
            both=linear_macs(layers),
            ends=output,
            convolution=transformer.x_embedder.proj.weight.numel(),
            sample=output,  # counted for both
            joint_widths=(transformer.hidden_size,) * len(layers),
        )
