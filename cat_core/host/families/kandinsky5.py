"""Kandinsky 5, video and image: self-attention over the tokens, cross-attention to text.

Host file: ``comfy/ldm/kandinsky5/model.py``. In front of the blocks others run over the text. What a block's slot is
given and what it must give differ, so hooks of modules are used. Rotary embeddings have a row per token. Given frames
take the place of the latent's.

Tested on ComfyUI 0.30.0, 0.24.0, 0.18.2. Older ones do not have it.
"""

from __future__ import annotations

from typing import Any

from ...algorithm.macs import ModelCost
from ..architecture.costs import linear_macs, model_cost, parts_macs
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout


class Kandinsky5(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "Kandinsky 5"
    preset = "quality"
    classes = (("comfy.ldm.kandinsky5.model", "Kandinsky5"),)
    arguments = frozenset({"attention_mask", "time_dim_replace", "y"})
    layout = Layout(
        blocks=(Blocks("visual_transformer_blocks"),),
        image=0,
        per_token={"freqs": 1},
        attention=(0,),  # then to text
    )

    def cost(self, transformer: Any) -> ModelCost:
        blocks, parts = transformer.visual_transformer_blocks, ("self_attention", "feed_forward")
        crossing = parts_macs(blocks, "cross_attention.to_key", "cross_attention.to_value")
        widths = (transformer.model_dim,) * len(blocks)
        return model_cost(
            transformer,
            image=parts_macs(blocks, "cross_attention", *parts) - crossing,
            text=crossing
            + parts_macs(transformer.text_transformer_blocks, *parts)
            + linear_macs(transformer.text_embeddings),
            ends=linear_macs(transformer.visual_embeddings, transformer.out_layer.out_layer),
            image_widths=widths,
            cross_widths=widths,
        )
