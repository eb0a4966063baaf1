"""HunyuanDiT: self-attention over image tokens, cross-attention to text, skip connections to the later blocks.

Host files: ``comfy/ldm/hydit/models.py`` and ``attn_layers.py``. The blocks' slots have no ``transformer_options``:
attention cannot be overridden. Rotary embeddings are a cosine and a sine with a row per image token, the same for all
samples, and the host's attention takes no others: where every sample has tokens of its own, both kinds of attention are
computed here. Skips are outputs of earlier blocks and so gathered already; a ControlNet's residuals are added to them.

Tested on ComfyUI 0.30.0, 0.24.0, 0.18.2, 0.3.75.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from comfy.ldm.hydit.attn_layers import rotate_half
from comfy.ldm.modules.attention import optimized_attention

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from ..architecture.costs import linear_macs, model_cost, parts_macs
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout
from ..architecture.rows import gather_rows

Rotary = tuple[torch.Tensor, torch.Tensor]


def _gather_rotary(pe: Rotary, selection: Selection) -> Rotary:
    """Cosine and sine [N, d] -> [B, 1, k, d]."""
    cos, sin = (gather_rows(part[None, None], selection, dim=2) for part in pe)
    return cos, sin


def _heads(module: Any, *rows: torch.Tensor) -> list[torch.Tensor]:
    """[B, L, d] -> [B, heads, L, d / heads]."""
    return [part.unflatten(2, (module.num_heads, -1)).transpose(1, 2) for part in rows]


def _rotate(x: torch.Tensor, rotary: Rotary) -> torch.Tensor:
    """Rotate [B, heads, L, d]; rows are [L, d], or [B, 1, L, d] where samples have different tokens."""
    return x * rotary[0] + rotate_half(x) * rotary[1]


def _self_attention(module: Any, attention: Callable, x: torch.Tensor, rotary: Rotary) -> tuple[torch.Tensor]:
    """What the host's ``Attention`` computes, through ``attention``."""
    q, k, v = _heads(module, *module.Wqkv(x).chunk(3, dim=-1))
    q, k = _rotate(module.q_norm(q), rotary), _rotate(module.k_norm(k), rotary)
    kinds = {"skip_reshape": True, "attn_precision": module.attn_precision}
    return (module.out_proj(attention(optimized_attention, q, k, v, module.num_heads, **kinds)),)


def _cross_attention(
    module: Any, _: Callable, x: torch.Tensor, text: torch.Tensor, rotary: Rotary
) -> tuple[torch.Tensor]:
    """What the host's ``CrossAttention`` computes, for tokens that differ from sample to sample."""
    q, k, v = _heads(module, module.q_proj(x), *module.kv_proj(text).chunk(2, dim=-1))
    q, k = _rotate(module.q_norm(q), rotary), module.k_norm(k)
    kinds = {"skip_reshape": True, "attn_precision": module.attn_precision}
    return (module.out_proj(optimized_attention(q, k, v, module.num_heads, **kinds)),)


class HunyuanDiT(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "HunyuanDiT"
    classes = (("comfy.ldm.hydit.models", "HunYuanDiT"),)
    arguments = frozenset(
        {"encoder_hidden_states_t5", "image_meta_size", "text_embedding_mask", "text_embedding_mask_t5"}
    )
    layout = Layout(
        blocks=(Blocks("blocks", "double_block"),),
        per_token={"pe": _gather_rotary},
        computes={"attn1": _self_attention, "attn2": _cross_attention},
        controls={"output": None},
    )

    def cost(self, transformer: Any) -> ModelCost:
        blocks, pooler = transformer.blocks, transformer.pooler
        text = parts_macs(blocks, "attn2.kv_proj")
        # only T5's tokens are projected and pooled, and their number is the model's
        t5, pooled = linear_macs(transformer.mlp_t5), linear_macs(pooler.k_proj, pooler.v_proj)
        widths = (transformer.hidden_size,) * len(blocks)
        return model_cost(
            transformer,
            image=linear_macs(blocks) - parts_macs(blocks, "default_modulation") - text,
            text=text,
            ends=linear_macs(transformer.final_layer.linear),
            convolution=transformer.x_embedder.proj.weight.numel(),
            sample=t5 * (transformer.text_len_t5 - 1) + pooled * transformer.text_len_t5,
            image_widths=widths,
            cross_widths=widths,
        )

    def other_tokens(self, transformer: Any, text: int, extra: dict[str, Any]) -> int:
        return text + extra["encoder_hidden_states_t5"].shape[1]
