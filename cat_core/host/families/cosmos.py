"""Cosmos-Predict2: self-attention over the picture or video, cross-attention to text.

Host file: ``comfy/ldm/cosmos/predict2.py``. Blocks are given [B, frames, rows, columns, d] and have no slots. Rotary
embeddings have a row per token. Modulation is the same for all tokens, but where frames are given.

Tested on ComfyUI 0.30.0, 0.24.0, 0.18.2, 0.3.75.
"""

from __future__ import annotations

from typing import Any

from ...algorithm.macs import ModelCost
from ..architecture.costs import linear_macs, model_cost, parts_macs
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout


class CosmosPredict2(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "Cosmos-Predict2"
    classes = (("comfy.ldm.cosmos.predict2", "MiniTrainDIT"),)
    arguments = frozenset({"fps"})
    layout = Layout(
        blocks=(Blocks("blocks"),),
        image=0,
        per_token={"rope_emb_L_1_1_D": 1},
        attention=(0,),  # then to text
    )

    def matches(self, transformer: Any) -> bool:
        return super().matches(transformer) and not transformer.extra_per_block_abs_pos_emb

    def patch(self, transformer: Any) -> tuple[int, int, int]:
        return transformer.patch_temporal, transformer.patch_spatial, transformer.patch_spatial

    def cost(self, transformer: Any) -> ModelCost:
        blocks = transformer.blocks
        text = parts_macs(blocks, "cross_attn.k_proj", "cross_attn.v_proj")
        widths = (transformer.model_channels,) * len(blocks)
        return model_cost(
            transformer,
            image=parts_macs(blocks, "self_attn", "cross_attn", "mlp") - text,
            text=text,
            ends=linear_macs(transformer.x_embedder, transformer.final_layer.linear),
            image_widths=widths,
            cross_widths=widths,
        )
