"""Mochi: joint attention over video, then text, whose tokens are narrower.

Host file: ``comfy/ldm/genmo/joint_model/asymm_models_joint.py``. Rotary embeddings are a cosine and a sine, with a row
per token of the video. The last block leaves the text as it is.

Tested on ComfyUI 0.30.0, 0.24.0, 0.18.2, 0.3.75.
"""

from __future__ import annotations

from typing import Any

import torch

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from ..architecture.costs import linear_macs, model_cost, parts_macs
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout
from ..architecture.rows import gather_rows


def _gather_rotary(rows: torch.Tensor, selection: Selection) -> torch.Tensor:
    """[N, heads, d] for all samples -> [B, k, heads, d]."""
    return gather_rows(rows.unsqueeze(0), selection)


class Mochi(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "Mochi"
    preset = "quality"
    classes = (("comfy.ldm.genmo.joint_model.asymm_models_joint", "AsymmDiTJoint"),)
    arguments = frozenset({"attention_mask", "num_tokens"})
    layout = Layout(
        blocks=(Blocks("blocks", "double_block"),),
        per_token={"rope_cos": _gather_rotary, "rope_sin": _gather_rotary},
    )

    def cost(self, transformer: Any) -> ModelCost:
        blocks = transformer.blocks
        text = parts_macs(blocks, "attn.qkv_y", "attn.proj_y")
        text += parts_macs([block for block in blocks if block.update_y], "mlp_y")
        return model_cost(
            transformer,
            image=parts_macs(blocks, "attn.qkv_x", "attn.proj_x", "mlp_x"),
            text=text + linear_macs(transformer.t5_yproj, transformer.t5_y_embedder.to_kv),
            ends=linear_macs(transformer.final_layer.linear),
            convolution=transformer.x_embedder.proj.weight.numel(),
            joint_widths=(transformer.hidden_size_x,) * len(blocks),
        )
