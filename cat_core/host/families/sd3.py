"""Stable Diffusion 3 and 3.5: MMDiT, and MMDiT-X with a second attention over image tokens in some blocks.

Host file: ``comfy/ldm/modules/diffusionmodules/mmdit.py``. Joint attention over text tokens, then image tokens;
position embeddings are added before the first block, so gathered tokens carry theirs.

Tested on ComfyUI 0.30.0, 0.24.0, 0.18.2, 0.3.75.
"""

from __future__ import annotations

from typing import Any

import torch

from ...algorithm.macs import ModelCost
from ..architecture.costs import linear_macs, model_cost
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout


class SD3(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "SD3 / SD3.5"
    classes = (("comfy.ldm.modules.diffusionmodules.mmdit", "OpenAISignatureMMDITWrapper"),)
    arguments = frozenset({"y"})
    layout = Layout(
        blocks=(Blocks("joint_blocks", "double_block"),),
        text="txt",
        controls={"output": "joint_blocks"},
    )

    def matches(self, transformer: Any) -> bool:
        return super().matches(transformer) and transformer.patch_size == 2

    def cost(self, transformer: Any) -> ModelCost:
        blocks, width = transformer.joint_blocks, transformer.hidden_size
        image, text = (sum(map(_token_macs, parts)) for parts in zip(*map(_halves, blocks), strict=True))
        return model_cost(
            transformer,
            image=image,
            text=text + linear_macs(transformer.context_embedder, transformer.context_processor),
            ends=linear_macs(transformer.final_layer.linear),
            convolution=transformer.x_embedder.proj.weight.numel(),
            joint_widths=(width,) * len(blocks),
            image_widths=(width,) * sum(block.x_block.x_block_self_attn for block in blocks),
        )


def _halves(block: Any) -> tuple[torch.nn.Module, torch.nn.Module]:
    """A block's layers for image tokens and for text."""
    return block.x_block, block.context_block


def _token_macs(half: Any) -> int:
    return linear_macs(half) - linear_macs(half.adaLN_modulation)
