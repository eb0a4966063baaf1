"""Flux.1 and Flux.2: double blocks with joint attention, then single blocks over one sequence.

Host file: ``comfy/ldm/flux/model.py``. Sequences are text, image, reference latents (Kontext, Flux.2 editing), which
are computed in full. Rotary embeddings have a row per token of the whole sequence.

Tested on ComfyUI 0.30.0, 0.24.0, 0.18.2, 0.3.75.
"""

from __future__ import annotations

from typing import Any

from ...algorithm.macs import ModelCost
from ..architecture.costs import linear_macs, model_cost, parts_macs
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout, Rest


class Flux(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "Flux"
    classes = (("comfy.ldm.flux.model", "Flux"),)
    arguments = frozenset({"guidance", "ref_latents", "ref_latents_method", "y"})
    patches = frozenset({"attn1_output_patch"})
    references = True
    layout = Layout(
        blocks=(Blocks("double_blocks", "double_block"), Blocks("single_blocks", "single_block", joined=True)),
        text="txt",
        rest=Rest.BEHIND,
        per_token={"pe": 2},
        controls={"input": "double_blocks", "output": "single_blocks"},
    )

    def cost(self, transformer: Any) -> ModelCost:
        doubles, singles = transformer.double_blocks, transformer.single_blocks
        return model_cost(
            transformer,
            image=parts_macs(doubles, "img_attn", "img_mlp"),
            text=parts_macs(doubles, "txt_attn", "txt_mlp") + linear_macs(transformer.txt_in),
            both=parts_macs(singles, "linear1", "linear2"),
            ends=linear_macs(transformer.img_in, transformer.final_layer.linear),
            joint_widths=(transformer.hidden_size,) * (len(doubles) + len(singles)),
        )

    def reference_method(self, transformer: Any) -> str | None:
        return getattr(transformer.params, "default_ref_method", None)
