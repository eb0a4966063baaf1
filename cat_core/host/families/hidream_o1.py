"""HiDream-O1: the blocks of a language model, over one sequence of text and image tokens of 32 x 32 pixels.

Host file: ``comfy/ldm/hidream_o1/model.py``. Text attends to the text in front of it alone, so the host keeps its keys
and values from step to step; blocks are then given the last token of text, which stands for the time, and the image.
Rotary embeddings are cosines and sines with a row per token. References stand behind the image, so that there are
others on both sides of it: they are not served.

Tested on ComfyUI 0.30.0, 0.24.0. Older ones do not have it.
"""

from __future__ import annotations

from typing import Any

from ...algorithm.macs import ModelCost
from ..architecture.costs import linear_macs
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout, Rest
from ..architecture.rows import gather_waves


class HiDreamO1(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "HiDream-O1"
    classes = (("comfy.ldm.hidream_o1.model", "HiDreamO1Transformer"),)
    arguments = frozenset({"ar_len", "input_ids", "position_ids", "token_types", "vinput_mask"})
    layout = Layout(
        blocks=(Blocks("language_model.layers"),),
        image="x",
        rest=Rest.IN_FRONT,
        per_token={"freqs_cis": gather_waves},
        end="language_model.norm",
    )

    def cost(self, transformer: Any) -> ModelCost:
        layers, config = transformer.language_model.layers, transformer.text_config
        return ModelCost(
            per_block_token=linear_macs(layers),
            per_image_token=linear_macs(transformer.x_embedder, transformer.final_layer2),
            per_text_token=linear_macs(layers),
            per_sample=linear_macs(transformer.t_embedder1),
            joint_widths=(config.num_attention_heads * config.head_dim,) * len(layers),
        )

    def other_tokens(self, transformer: Any, text: int, extra: dict[str, Any]) -> int:
        return extra["input_ids"].shape[1]
