"""Mochi: joint attention over video, then text, whose tokens are narrower.

Host file: ``comfy/ldm/genmo/joint_model/asymm_models_joint.py``. Rotary embeddings are a cosine and a sine, with a row
per token of the video. The last block leaves the text as it is.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from .family import Family
from .hooks import changing, gather_rows, hook_blocks, linear_macs, once


class Mochi(Family):
    """See :class:`cat_core.host.families.family.Family`."""

    name = "Mochi"
    preset = "quality"
    classes = (("comfy.ldm.genmo.joint_model.asymm_models_joint", "AsymmDiTJoint"),)

    def patch(self, transformer: Any) -> tuple[int, int, int]:
        return 1, transformer.patch_size, transformer.patch_size

    def cost(self, transformer: Any) -> ModelCost:
        blocks = transformer.blocks
        image = sum(linear_macs(block.attn.qkv_x, block.attn.proj_x, block.mlp_x) for block in blocks)
        text = sum(linear_macs(block.attn.qkv_y, block.attn.proj_y) for block in blocks)
        text += sum(linear_macs(block.mlp_y) for block in blocks if block.update_y)
        text += linear_macs(transformer.t5_yproj, transformer.t5_y_embedder.to_kv)
        output = linear_macs(transformer.final_layer.linear)
        return ModelCost(
            per_block_token=image,
            per_image_token=transformer.x_embedder.proj.weight.numel() + output,
            per_text_token=text,
            per_sample=linear_macs(transformer) - image - text - output,
            joint_widths=(transformer.hidden_size_x,) * len(blocks),
        )

    @contextmanager
    def prune(self, transformer: Any, options: dict[str, Any], control: Any, selection: Selection, attention: Any):
        attention.after = None
        cosine, sine = (once(lambda rows: gather_rows(rows.unsqueeze(0), selection)) for _ in range(2))
        options = hook_blocks(
            options,
            [("double_block", i) for i in range(len(transformer.blocks))],
            enter=changing(img=selection.gather),
            each=changing(rope_cos=cosine, rope_sin=sine),
            leave=changing(img=selection.scatter),
        )
        yield options, control
