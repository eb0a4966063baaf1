"""Lens: double blocks with joint attention over image, then text.

Host file: ``comfy/ldm/lens/model.py``. Rotary embeddings and the mask of attention, which every block is given, have a
row or a column per token of the whole sequence.

Tested on ComfyUI 0.30.0, 0.24.0. Older ones do not have it.
"""

from __future__ import annotations

from typing import Any

from ...algorithm.macs import ModelCost
from ..architecture.costs import linear_macs, model_cost, parts_macs
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout


class Lens(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "Lens"
    classes = (("comfy.ldm.lens.model", "LensTransformer2DModel"),)
    arguments = frozenset({"attention_mask"})
    layout = Layout(
        blocks=(Blocks("transformer_blocks", "double_block"),),
        per_token={"pe": 2, "attn_mask": 3},
        controls={"input": "transformer_blocks"},
    )

    def patch(self, transformer: Any) -> tuple[int, int, int]:
        return 1, 1, 1  # latents come with 2 x 2 places in their channels

    def cost(self, transformer: Any) -> ModelCost:
        blocks = transformer.transformer_blocks
        return model_cost(
            transformer,
            image=parts_macs(blocks, "attn.img_qkv", "attn.to_out", "img_mlp"),
            text=parts_macs(blocks, "attn.txt_qkv", "attn.to_add_out", "txt_mlp") + linear_macs(transformer.txt_in),
            ends=linear_macs(transformer.img_in, transformer.proj_out),
            joint_widths=(transformer.inner_dim,) * len(blocks),
        )
