"""Lumina 2 and Z-Image: single blocks over one sequence of text and image tokens.

Host file: ``comfy/ldm/lumina/model.py``. Before the blocks, refiners run over text and over image tokens, the latter
with attention of all to all: they see every token. Z-Image pads the text and the image to multiples of 32 tokens; the
image's pads lie behind it and go through the blocks. Rotary embeddings have a row per token of the whole sequence.

Tested on ComfyUI 0.30.0, 0.24.0, 0.18.2, 0.3.75.
"""

from __future__ import annotations

from typing import Any

from ...algorithm.macs import ModelCost
from ..architecture.costs import linear_macs, model_cost, parts_macs
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout, Rest


class Lumina2(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "Lumina 2 / Z-Image"
    classes = (("comfy.ldm.lumina.model", "NextDiT"),)
    arguments = frozenset({"attention_mask", "clip_text_pooled", "num_tokens"})
    layout = Layout(
        blocks=(Blocks("layers"),),
        image=0,
        rest=Rest.IN_FRONT,
        multiple="pad_tokens_multiple",
        per_token={2: 1},  # rotary embeddings, behind the tokens and a mask
    )

    def cost(self, transformer: Any) -> ModelCost:
        layers, refiners, output = transformer.layers, transformer.noise_refiner, transformer.final_layer.linear
        refining = parts_macs(refiners, "attention", "feed_forward")
        return model_cost(
            transformer,
            text=linear_macs(transformer.context_refiner, transformer.cap_embedder, output),
            both=parts_macs(layers, "attention", "feed_forward"),
            ends=refining + linear_macs(transformer.x_embedder, output),
            sample=linear_macs(output),  # counted for both
            joint_widths=(transformer.dim,) * len(layers),
            whole_widths=(transformer.dim,) * len(refiners),
        )

    def other_tokens(self, transformer: Any, text: int, extra: dict[str, Any]) -> int:
        return text + self.layout.count_pads(transformer, text)
