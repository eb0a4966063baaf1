"""HunyuanDiT: self-attention over image tokens, cross-attention to text, skip connections to the later blocks.

Host files: ``comfy/ldm/hydit/models.py`` and ``attn_layers.py``. The blocks' slots have no ``transformer_options``:
attention cannot be overridden. Rotary embeddings are a cosine and a sine with a row per image token, the same for all
samples, and the host's attention takes no others: where every sample has tokens of its own, both kinds of attention are
computed here. Skips are outputs of earlier blocks and so gathered already; a ControlNet's residuals are added to them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from comfy.ldm.hydit.attn_layers import rotate_half
from comfy.ldm.modules.attention import optimized_attention

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from .family import Family
from .hooks import changing, gather_control, gather_rows, hook_blocks, linear_macs, once, replaced

Rotary = tuple[torch.Tensor, torch.Tensor]


class HunyuanDiT(Family):
    """See :class:`cat_core.host.families.family.Family`."""

    name = "HunyuanDiT"
    classes = (("comfy.ldm.hydit.models", "HunYuanDiT"),)
    compilable = False

    def patch(self, transformer: Any) -> tuple[int, int, int]:
        return 1, transformer.patch_size, transformer.patch_size

    def cost(self, transformer: Any) -> ModelCost:
        blocks, pooler, output = transformer.blocks, transformer.pooler, transformer.final_layer.linear
        text = sum(linear_macs(block.attn2.kv_proj) for block in blocks)
        image = sum(linear_macs(block) - linear_macs(block.default_modulation) for block in blocks) - text
        # only T5's tokens are projected and pooled, and their number is the model's
        t5, pooled = linear_macs(transformer.mlp_t5), linear_macs(pooler.k_proj, pooler.v_proj)
        widths = (transformer.hidden_size,) * len(blocks)
        return ModelCost(
            per_block_token=image,
            per_image_token=transformer.x_embedder.proj.weight.numel() + linear_macs(output),
            per_text_token=text,
            per_sample=linear_macs(transformer)
            - image
            - text
            - linear_macs(output)
            + t5 * (transformer.text_len_t5 - 1)
            + pooled * transformer.text_len_t5,
            image_widths=widths,
            cross_widths=widths,
        )

    def other_tokens(self, transformer: Any, text: int, extra: dict[str, Any]) -> int:
        return text + extra["encoder_hidden_states_t5"].shape[1]

    @contextmanager
    def attending(self, transformer: Any, options: dict[str, Any], attention: Any):
        # no other node's override is ever called here either
        attention.previous = None
        blocks = transformer.blocks
        with replaced([(block.attn1, partial(_self_attention, block.attn1, attention)) for block in blocks]):
            yield options

    @contextmanager
    def prune(self, transformer: Any, options: dict[str, Any], control: Any, selection: Selection, attention: Any):
        blocks = transformer.blocks

        def rotary(pe: Rotary) -> Rotary:
            cos, sin = (gather_rows(part[None, None], selection, dim=2) for part in pe)
            return cos, sin

        options = hook_blocks(
            options,
            [("double_block", i) for i in range(len(blocks))],
            enter=changing(img=selection.gather),
            each=changing(pe=once(rotary)),
            leave=changing(img=selection.scatter),
        )
        with replaced([(block.attn2, partial(_cross_attention, block.attn2)) for block in blocks]):
            yield options, gather_control(control, "output", selection)


def _heads(module: Any, *rows: torch.Tensor) -> list[torch.Tensor]:
    """[B, L, d] -> [B, heads, L, d / heads]."""
    return [part.unflatten(2, (module.num_heads, -1)).transpose(1, 2) for part in rows]


def _rotated(x: torch.Tensor, rotary: Rotary) -> torch.Tensor:
    """Rotate [B, heads, L, d]; rows are [L, d], or [B, 1, L, d] where samples have different tokens."""
    return x * rotary[0] + rotate_half(x) * rotary[1]


def _self_attention(module: Any, attention: Callable, x: torch.Tensor, rotary: Rotary) -> tuple[torch.Tensor]:
    """What the host's ``Attention`` computes, through ``attention``."""
    q, k, v = _heads(module, *module.Wqkv(x).chunk(3, dim=-1))
    q, k = _rotated(module.q_norm(q), rotary), _rotated(module.k_norm(k), rotary)
    kinds = {"skip_reshape": True, "attn_precision": module.attn_precision}
    return (module.out_proj(attention(optimized_attention, q, k, v, module.num_heads, **kinds)),)


def _cross_attention(module: Any, x: torch.Tensor, text: torch.Tensor, rotary: Rotary) -> tuple[torch.Tensor]:
    """What the host's ``CrossAttention`` computes, for tokens that differ from sample to sample."""
    q, k, v = _heads(module, module.q_proj(x), *module.kv_proj(text).chunk(2, dim=-1))
    q, k = _rotated(module.q_norm(q), rotary), module.k_norm(k)
    kinds = {"skip_reshape": True, "attn_precision": module.attn_precision}
    return (module.out_proj(optimized_attention(q, k, v, module.num_heads, **kinds)),)
