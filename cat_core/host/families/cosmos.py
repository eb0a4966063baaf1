"""Cosmos-Predict2: self-attention over the picture or video, cross-attention to text.

Host file: ``comfy/ldm/cosmos/predict2.py``. Blocks are given [B, frames, rows, columns, d] and have no slots. Rotary
embeddings have a row per token. Modulation is the same for all tokens, but where frames are given.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import torch

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from .family import Family
from .hooks import gather_rows, hooked, linear_macs, once

ROTARY = "rope_emb_L_1_1_D"


class CosmosPredict2(Family):
    """See :class:`cat_core.host.families.family.Family`."""

    name = "Cosmos-Predict2"
    classes = (("comfy.ldm.cosmos.predict2", "MiniTrainDIT"),)
    compilable = False

    def matches(self, transformer: torch.nn.Module) -> bool:
        return super().matches(transformer) and not transformer.extra_per_block_abs_pos_emb

    def patch(self, transformer: Any) -> tuple[int, int, int]:
        return transformer.patch_temporal, transformer.patch_spatial, transformer.patch_spatial

    def cost(self, transformer: Any) -> ModelCost:
        blocks = transformer.blocks
        text = sum(linear_macs(block.cross_attn.k_proj, block.cross_attn.v_proj) for block in blocks)
        image = sum(linear_macs(block.self_attn, block.cross_attn, block.mlp) for block in blocks) - text
        ends = linear_macs(transformer.x_embedder, transformer.final_layer.linear)
        widths = (transformer.model_channels,) * len(blocks)
        return ModelCost(
            per_block_token=image,
            per_image_token=ends,
            per_text_token=text,
            per_sample=linear_macs(transformer) - image - text - ends,
            image_widths=widths,
            cross_widths=widths,
        )

    def refuses(self, transformer: Any, extra: dict[str, Any], options: dict[str, Any]) -> str | None:
        if extra.get("denoise_mask") is not None:
            return "given frames have a modulation of their own"
        return super().refuses(transformer, extra, options)

    def attends_to_image(self, transformer: Any, number: int) -> bool:
        return number % 2 == 0  # then to text

    @contextmanager
    def prune(self, transformer: Any, options: dict[str, Any], control: Any, selection: Selection, attention: Any):
        blocks = transformer.blocks
        grid: tuple[int, ...] = ()

        def enter(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            nonlocal grid
            x, *others = args
            grid = x.shape[1:4]
            return (selection.gather(x.flatten(1, 3))[:, None, None], *others), kwargs

        rotary = once(lambda rope: gather_rows(rope, selection))

        def each(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            return args, {**kwargs, ROTARY: rotary(kwargs[ROTARY])}

        def leave(x: torch.Tensor) -> torch.Tensor:
            return selection.scatter(x.flatten(1, 3)).unflatten(1, grid)

        with hooked([(blocks[0], enter), *((block, each) for block in blocks)], [(blocks[-1], leave)]):
            yield options, control
