"""PixArt-alpha and PixArt-Sigma: self-attention over image tokens, cross-attention to text.

Host files: ``comfy/ldm/pixart/pixartms.py`` and ``blocks.py``. Position embeddings are added before the first block.
The host passes no ``transformer_options`` to the blocks: there are no block hooks, and attention cannot be overridden.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from comfy.ldm.modules.attention import optimized_attention

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from .family import Family
from .hooks import hooked, linear_macs, replaced


class PixArt(Family):
    """See :class:`cat_core.host.families.family.Family`."""

    name = "PixArt"
    classes = (("comfy.ldm.pixart.pixartms", "PixArtMS"),)
    compilable = False

    def matches(self, transformer: torch.nn.Module) -> bool:
        # with compressed keys, a row is not a token's
        return super().matches(transformer) and all(block.attn.sr_ratio == 1 for block in transformer.blocks)

    def patch(self, transformer: Any) -> tuple[int, int, int]:
        return 1, transformer.patch_size, transformer.patch_size

    def cost(self, transformer: Any) -> ModelCost:
        text = sum(linear_macs(block.cross_attn.kv_linear) for block in transformer.blocks)
        blocks = linear_macs(transformer.blocks) - text
        text += linear_macs(transformer.y_embedder)
        output = linear_macs(transformer.final_layer)
        widths = (transformer.hidden_size,) * transformer.depth
        return ModelCost(
            per_block_token=blocks,
            per_image_token=transformer.x_embedder.proj.weight.numel() + output,
            per_text_token=text,
            per_sample=linear_macs(transformer) - blocks - text - output,
            image_widths=widths,
            cross_widths=widths,
        )

    @contextmanager
    def attending(self, transformer: Any, options: dict[str, Any], attention: Any):
        # no other node's override is ever called here either
        attention.previous = None
        blocks = transformer.blocks
        with replaced([(block.attn, partial(_self_attention, block.attn, attention)) for block in blocks]):
            yield options

    @contextmanager
    def prune(self, transformer: Any, options: dict[str, Any], control: Any, selection: Selection, attention: Any):
        def enter(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            return (selection.gather(args[0]), *args[1:]), kwargs

        first, last = transformer.blocks[0], transformer.blocks[-1]
        with hooked([(first, enter)], [(last, selection.scatter)]):
            yield options, control


def _self_attention(module: Any, attention: Callable, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """What the host's ``AttentionKVCompress`` computes without compression, through ``attention``."""
    q, k, v = module.qkv(x).chunk(3, dim=-1)
    return module.proj(attention(optimized_attention, module.q_norm(q), module.k_norm(k), v, module.num_heads))
