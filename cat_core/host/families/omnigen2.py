"""OmniGen2: single blocks over one sequence of text, reference latents and image tokens.

Host file: ``comfy/ldm/omnigen/omnigen2.py``. Before the blocks, refiners run over text, over image tokens, which all
attend to each other, and over references where there are any. Rotary embeddings have a row per token of the whole
sequence; the image is its last N tokens.

Tested on ComfyUI 0.30.0, 0.24.0, 0.18.2, 0.3.75.
"""

from __future__ import annotations

from typing import Any

from ...algorithm.macs import ModelCost
from ..architecture.costs import linear_macs, parts_macs
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout, Rest


class OmniGen2(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "OmniGen2"
    classes = (("comfy.ldm.omnigen.omnigen2", "OmniGen2Transformer2DModel"),)
    arguments = frozenset({"attention_mask", "num_tokens", "ref_latents"})
    references = True
    layout = Layout(
        blocks=(Blocks("layers"),),
        image=0,
        rest=Rest.IN_FRONT,
        per_token={2: 1},  # rotary embeddings, behind the tokens and a mask
    )

    def cost(self, transformer: Any) -> ModelCost:
        layers, refiners = transformer.layers, transformer.noise_refiner
        ends, conditions = transformer.norm_out, transformer.time_caption_embed
        blocks, refining = (parts_macs(parts, "attn", "feed_forward") for parts in (layers, refiners))
        # references have refiners as large as the text's, only a smaller embedding
        text = linear_macs(transformer.context_refiner, conditions.caption_embedder, ends.linear_2)
        return ModelCost(
            per_block_token=blocks,
            per_image_token=refining + linear_macs(transformer.x_embedder, ends.linear_2),
            per_text_token=blocks + text,
            per_sample=linear_macs(conditions.timestep_embedder, ends.linear_1)
            + parts_macs([*layers, *refiners], "norm1"),
            joint_widths=(transformer.hidden_size,) * len(layers),
            whole_widths=(transformer.hidden_size,) * len(refiners),
        )
