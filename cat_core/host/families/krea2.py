"""Krea 2: single blocks over one sequence of text and image tokens.

Host file: ``comfy/ldm/krea2/model.py``. In front of the blocks a small transformer brings the layers of the text's
encoder together. Rotary embeddings have a row per token of the whole sequence. References stand behind the image, so
that there are others on both sides of it: they are not served.

Tested on ComfyUI 0.30.0. Older ones do not have it.
"""

from __future__ import annotations

from typing import Any

from ...algorithm.macs import ModelCost
from ..architecture.costs import linear_macs
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout, Rest


class Krea2(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "Krea 2"
    classes = (("comfy.ldm.krea2.model", "SingleStreamDiT"),)
    arguments = frozenset({"ref_latents_method"})
    layout = Layout(
        blocks=(Blocks("blocks"),),
        image=0,
        rest=Rest.IN_FRONT,
        per_token={2: 2},  # rotary embeddings, behind the tokens and their modulation
    )

    def patch(self, transformer: Any) -> tuple[int, int, int]:
        return 1, transformer.patch, transformer.patch

    def cost(self, transformer: Any) -> ModelCost:
        blocks, fusion, output = transformer.blocks, transformer.txtfusion, transformer.last.linear
        # a token of text comes as one of every layer of its encoder
        layers = transformer.txtlayers * linear_macs(fusion.layerwise_blocks)
        fused = transformer.txtdim * linear_macs(fusion.projector) + linear_macs(fusion.refiner_blocks)
        return ModelCost(
            per_block_token=linear_macs(blocks),
            per_image_token=linear_macs(transformer.first, output),
            per_text_token=linear_macs(blocks, transformer.txtmlp, output) + layers + fused,
            per_sample=linear_macs(transformer.tmlp, transformer.tproj),
            joint_widths=(transformer.first.out_features,) * len(blocks),
        )
