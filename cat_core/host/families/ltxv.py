"""LTX-Video: self-attention over the video, cross-attention to text.

Host file: ``comfy/ldm/lightricks/model.py``. Rotary embeddings have a row per token; so has the modulation where frames
are given. Key frames are frames of the latent.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import torch

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from .family import Family
from .hooks import changing, gather_rows, hook_blocks, linear_macs, once


class LTXV(Family):
    """See :class:`cat_core.host.families.family.Family`."""

    name = "LTX-Video"
    classes = (("comfy.ldm.lightricks.model", "LTXVModel"),)

    def patch(self, transformer: Any) -> tuple[int, int, int]:
        return 1, 1, 1

    def cost(self, transformer: Any) -> ModelCost:
        blocks = transformer.transformer_blocks
        text = sum(linear_macs(block.attn2.to_k, block.attn2.to_v) for block in blocks)
        image = linear_macs(blocks) - text
        text += linear_macs(transformer.caption_projection)
        ends = linear_macs(transformer.patchify_proj, transformer.proj_out)
        widths = (transformer.inner_dim,) * len(blocks)
        return ModelCost(
            per_block_token=image,
            per_image_token=ends,
            per_text_token=text,
            per_sample=linear_macs(transformer) - image - text - ends,
            image_widths=widths,
            cross_widths=widths,
        )

    def attends_to_image(self, transformer: Any, number: int) -> bool:
        return number % 2 == 0  # then to text

    @contextmanager
    def prune(self, transformer: Any, options: dict[str, Any], control: Any, selection: Selection, attention: Any):
        def of_tokens(modulation: torch.Tensor) -> torch.Tensor:
            return modulation if modulation.shape[1] == 1 else gather_rows(modulation, selection)

        options = hook_blocks(
            options,
            [("double_block", i) for i in range(len(transformer.transformer_blocks))],
            enter=changing(img=selection.gather),
            each=changing(pe=once(lambda pe: gather_rows(pe, selection, dim=2)), vec=once(of_tokens)),
            leave=changing(img=selection.scatter),
        )
        yield options, control
