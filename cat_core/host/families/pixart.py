"""PixArt-Alpha and PixArt-Sigma: self-attention over image tokens, cross-attention to text.

Host file: ``comfy/ldm/pixart/pixartms.py``. Position embeddings are added before the first block.
The host passes no ``transformer_options`` to the blocks: there are no block hooks, and attention cannot be overridden.

Tested on ComfyUI 0.30.0, 0.24.0, 0.18.2, 0.3.75.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from comfy.ldm.modules.attention import optimized_attention

from ...algorithm.macs import ModelCost
from ..architecture.costs import linear_macs, model_cost, parts_macs
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout


def _self_attention(module: Any, attention: Callable, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """What the host's ``AttentionKVCompress`` computes without compression, through ``attention``."""
    q, k, v = module.qkv(x).chunk(3, dim=-1)
    return module.proj(attention(optimized_attention, module.q_norm(q), module.k_norm(k), v, module.num_heads))


class PixArt(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "PixArt"
    classes = (("comfy.ldm.pixart.pixartms", "PixArtMS"),)
    arguments = frozenset({"c_ar", "c_size"})
    layout = Layout(blocks=(Blocks("blocks"),), image=0, computes={"attn": _self_attention})

    def matches(self, transformer: Any) -> bool:
        # with compressed keys, a row is not a token's
        return super().matches(transformer) and all(block.attn.sr_ratio == 1 for block in transformer.blocks)

    def cost(self, transformer: Any) -> ModelCost:
        text = parts_macs(transformer.blocks, "cross_attn.kv_linear")
        widths = (transformer.hidden_size,) * transformer.depth
        return model_cost(
            transformer,
            image=linear_macs(transformer.blocks) - text,
            text=text + linear_macs(transformer.y_embedder),
            ends=linear_macs(transformer.final_layer),
            convolution=transformer.x_embedder.proj.weight.numel(),
            image_widths=widths,
            cross_widths=widths,
        )
