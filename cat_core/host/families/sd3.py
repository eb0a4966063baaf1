"""Stable Diffusion 3 and 3.5: MMDiT, and MMDiT-X with a second attention over image tokens in some blocks.

Host file: ``comfy/ldm/modules/diffusionmodules/mmdit.py``. Joint attention over text tokens, then image tokens;
position embeddings are added before the first block, so gathered tokens carry theirs.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import torch

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from .family import Family
from .hooks import changing, gather_control, hook_blocks, linear_macs


class SD3(Family):
    """See :class:`cat_core.host.families.family.Family`."""

    name = "SD3 / SD3.5"
    classes = (("comfy.ldm.modules.diffusionmodules.mmdit", "OpenAISignatureMMDITWrapper"),)

    def matches(self, transformer: torch.nn.Module) -> bool:
        return super().matches(transformer) and transformer.patch_size == 2

    def patch(self, transformer: Any) -> tuple[int, int, int]:
        return 1, transformer.patch_size, transformer.patch_size

    def cost(self, transformer: Any) -> ModelCost:
        width = transformer.hidden_size
        blocks = transformer.joint_blocks
        ends = transformer.final_layer
        return ModelCost(
            per_block_token=sum(linear_macs(b.x_block) - linear_macs(b.x_block.adaLN_modulation) for b in blocks),
            per_image_token=transformer.x_embedder.proj.weight.numel() + ends.linear.weight.numel(),
            per_text_token=linear_macs(transformer.context_embedder, transformer.context_processor)
            + sum(linear_macs(b.context_block) - linear_macs(b.context_block.adaLN_modulation) for b in blocks),
            per_sample=linear_macs(transformer.t_embedder, transformer.y_embedder, ends.adaLN_modulation)
            + sum(linear_macs(b.x_block.adaLN_modulation, b.context_block.adaLN_modulation) for b in blocks),
            joint_widths=(width,) * len(blocks),
            image_widths=(width,) * sum(b.x_block.x_block_self_attn for b in blocks),
        )

    @contextmanager
    def prune(self, transformer: Any, options: dict[str, Any], control: Any, selection: Selection, attention: Any):
        slots = [("double_block", i) for i in range(len(transformer.joint_blocks))]
        options = hook_blocks(
            options, slots, enter=changing(img=selection.gather), leave=changing(img=selection.scatter)
        )
        yield options, gather_control(control, "output", selection, last=len(slots) - 1)
