"""AuraFlow: double blocks with joint attention, then single blocks over one sequence.

Host file: ``comfy/ldm/aura/mmdit.py``. Sequences are register tokens, text, image; position embeddings are added before
the first block.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import torch

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from .family import Family
from .hooks import changing, hook_blocks, linear_macs, scatter_rows


class AuraFlow(Family):
    """See :class:`cat_core.host.families.family.Family`."""

    name = "AuraFlow"
    classes = (("comfy.ldm.aura.mmdit", "MMDiT"),)

    def matches(self, transformer: torch.nn.Module) -> bool:
        return super().matches(transformer) and len(transformer.double_layers) > 0 < len(transformer.single_layers)

    def patch(self, transformer: Any) -> tuple[int, int, int]:
        return 1, transformer.patch_size, transformer.patch_size

    def cost(self, transformer: Any) -> ModelCost:
        doubles, singles = transformer.double_layers, transformer.single_layers
        both = sum(linear_macs(block.attn, block.mlp) for block in singles)
        image = sum(linear_macs(block.mlpX, *_projections(block.attn, 2)) for block in doubles)
        text = sum(linear_macs(block.mlpC, *_projections(block.attn, 1)) for block in doubles)
        text += linear_macs(transformer.cond_seq_linear)
        ends = linear_macs(transformer.init_x_linear, transformer.final_linear)
        return ModelCost(
            per_block_token=image + both,
            per_image_token=ends,
            per_text_token=text + both,
            per_sample=linear_macs(transformer) - image - text - both - ends,
            joint_widths=(transformer.positional_encoding.shape[-1],) * (len(doubles) + len(singles)),
        )

    def other_tokens(self, transformer: Any, text: int, extra: dict[str, Any]) -> int:
        return text + transformer.register_tokens.shape[1]

    @contextmanager
    def prune(self, transformer: Any, options: dict[str, Any], control: Any, selection: Selection, attention: Any):
        doubles, singles = len(transformer.double_layers), len(transformer.single_layers)
        slots = [("double_block", i) for i in range(doubles)] + [("single_block", i) for i in range(singles)]
        others = 0

        def enter(args: dict[str, Any]) -> dict[str, Any]:
            nonlocal others
            others = args["txt"].shape[1]
            return {**args, "img": selection.gather(args["img"])}

        leave = changing(img=lambda img: scatter_rows(img, selection, before=others))
        yield hook_blocks(options, slots, enter=enter, leave=leave), control


def _projections(attention: Any, stream: int) -> list[torch.nn.Module]:
    """The linear layers of text (1) or image tokens (2)."""
    return [getattr(attention, f"w{stream}{part}") for part in "qkvo"]
