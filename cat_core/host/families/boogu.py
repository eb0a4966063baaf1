"""Boogu: OmniGen2 with blocks of two streams in front of those over one sequence.

Host file: ``comfy/ldm/boogu/model.py``. A block of two streams attends from text and image to both, then from the image
to itself. References stand in front of the image, text in front of both. Refiners run in front of the blocks, as
OmniGen2's do.

Tested on ComfyUI 0.30.0. Older ones do not have it.
"""

from __future__ import annotations

from typing import Any

import torch

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from ..architecture.costs import linear_macs, parts_macs
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout, Rest
from ..architecture.rows import gather_last_rows
from ..tokens import count_tokens

_PROJECTIONS = ("to_q", "to_k", "to_v", "out")
_MODULATIONS = ("img_norm1", "img_norm2", "img_norm3", "instruct_norm1", "instruct_norm2")


def _gather_own_rotary(rows: torch.Tensor, selection: Selection) -> torch.Tensor:
    """Rotary embeddings [1 or B, references + N, d] of the image alone; the time [B, d] has their place later on."""
    return rows if rows.ndim == 2 else gather_last_rows(rows, selection)


class Boogu(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "Boogu"
    classes = (("comfy.ldm.boogu.model", "BooguTransformer2DModel"),)
    arguments = frozenset({"attention_mask", "num_tokens", "ref_latents"})
    layout = Layout(
        blocks=(Blocks("double_stream_layers"), Blocks("single_stream_layers", joined=True)),
        image=0,
        text=1,
        rest=Rest.IN_FRONT,
        per_token={2: 1, 3: _gather_own_rotary},
    )

    def cost(self, transformer: Any) -> ModelCost:
        doubles, singles = transformer.double_stream_layers, transformer.single_stream_layers
        refiners, conditions = transformer.noise_refiner, transformer.time_caption_embed
        output, width = transformer.norm_out, transformer.hidden_size
        image, text = (
            parts_macs(doubles, "img_instruct_attn.to_out", f"{kind}_feed_forward", *_name_projections(kind))
            for kind in ("img", "instruct")
        )
        both, refining = (parts_macs(blocks, "attn", "feed_forward") for blocks in (singles, refiners))
        text += linear_macs(transformer.context_refiner, conditions.caption_embedder, output.linear_2)
        modulations = parts_macs([*singles, *refiners], "norm1") + parts_macs(doubles, *_MODULATIONS)
        return ModelCost(
            per_block_token=image + both + parts_macs(doubles, "img_self_attn"),
            per_image_token=refining + linear_macs(transformer.x_embedder, output.linear_2),
            per_text_token=text + both,
            per_sample=linear_macs(conditions.timestep_embedder, output.linear_1) + modulations,
            joint_widths=(width,) * len([*doubles, *singles]),
            image_widths=(width,) * len(doubles),
            whole_widths=(width,) * len(refiners),
        )

    def beside(self, transformer: Any, tokens: int, extra: dict[str, Any]) -> int:
        return count_tokens(extra.get("ref_latents"), self.patch(transformer))


def _name_projections(kind: str) -> list[str]:
    return [f"img_instruct_attn.processor.{kind}_{name}" for name in _PROJECTIONS]
