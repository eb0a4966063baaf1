"""Wan 2.1 and 2.2, text to video and image to video: self-attention over the video, cross-attention to the prompt.

Host file: ``comfy/ldm/wan/model.py``. Rotary embeddings have a row per token. Modulation is the same for all tokens or,
in Wan 2.2 5B with given frames, for those of a frame. A reference picture stands in front of the video and is computed
in full. VACE, Camera, Animate and other variants are classes of their own, and are not served.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import Any

import torch

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from .family import Family
from .hooks import changing, gather_rows, hook_blocks, linear_macs, once, scatter_rows

CLIP_TOKENS = 257
"""Of a picture that image to video attends to."""


class Wan(Family):
    """See :class:`cat_core.host.families.family.Family`."""

    name = "Wan 2.1 / 2.2"
    preset = "quality"
    classes = (("comfy.ldm.wan.model", "WanModel"),)

    def patch(self, transformer: Any) -> tuple[int, int, int]:
        frames, rows, columns = transformer.patch_size
        return frames, rows, columns

    def cost(self, transformer: Any) -> ModelCost:
        blocks = transformer.blocks
        text = sum(linear_macs(block.cross_attn.k, block.cross_attn.v) for block in blocks)
        picture = sum(linear_macs(*_picture(block)) for block in blocks)
        image = linear_macs(blocks) - text - picture
        text += linear_macs(transformer.text_embedding)
        widths = (transformer.dim,) * len(blocks)
        clip = CLIP_TOKENS if transformer.img_emb is not None else 0
        return ModelCost(
            # a picture's tokens are as many for every video
            per_block_token=image + 2 * clip * sum(widths),
            per_image_token=transformer.patch_embedding.weight.numel() + linear_macs(transformer.head),
            per_text_token=text,
            per_sample=linear_macs(transformer.time_embedding, transformer.time_projection)
            + clip * (picture + linear_macs(transformer.img_emb)),
            image_widths=widths,
            cross_widths=widths,
        )

    def refuses(self, transformer: Any, extra: dict[str, Any], options: dict[str, Any]) -> str | None:
        if extra.get("time_dim_concat") is not None:
            return "further frames are joined to the video (Phantom)"
        if extra.get("reference_latent") is not None and extra.get("denoise_mask") is not None:
            return "a reference picture and given frames together are not supported"
        return super().refuses(transformer, extra, options)

    def attends_to_image(self, transformer: Any, number: int) -> bool:
        # every block attends to the video, to a picture in image to video, to text
        return number % (3 if transformer.img_emb is not None else 2) == 0

    @contextmanager
    def prune(self, transformer: Any, options: dict[str, Any], control: Any, selection: Selection, attention: Any):
        slots = [("double_block", i) for i in range(len(transformer.blocks))]
        reference = 0

        def enter(args: dict[str, Any]) -> dict[str, Any]:
            nonlocal reference
            reference = args["img"].shape[1] - selection.tokens
            return {**args, "img": gather_rows(args["img"], selection, before=reference)}

        options = hook_blocks(
            options,
            slots,
            enter=enter,
            each=changing(
                pe=once(lambda pe: gather_rows(pe, selection, before=reference)),
                vec=once(lambda vec: _of_frames(vec, selection)),
            ),
            leave=changing(img=lambda img: scatter_rows(img, selection, before=reference)),
        )
        yield options, control


def _picture(block: Any) -> list[torch.nn.Module]:
    return [getattr(block.cross_attn, name) for name in ("k_img", "v_img") if hasattr(block.cross_attn, name)]


def _of_frames(modulation: torch.Tensor, selection: Selection) -> torch.Tensor:
    """Modulation [B, 1 or frames, 6, d] -> the same where it is one for all tokens, otherwise [B, k, 6, d]."""
    frames = modulation.shape[1]
    if frames == 1:
        return modulation
    frame = selection.indices // math.ceil(selection.tokens / frames)
    return modulation.gather(1, frame[..., None, None].expand(-1, -1, *modulation.shape[2:]))
