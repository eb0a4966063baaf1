"""Wan 2.1 and 2.2, text to video and image to video: self-attention over the video, cross-attention to the prompt.

Host file: ``comfy/ldm/wan/model.py``. Rotary embeddings have a row per token. Modulation is the same for all tokens or,
in Wan 2.2 5B with given frames, for those of a frame. A reference picture stands in front of the video and is computed
in full. VACE, Camera, Animate and other variants are classes of their own, and are not served.

Tested on ComfyUI 0.30.0, 0.24.0, 0.18.2, 0.3.75.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from ..architecture.costs import linear_macs, parts_macs
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout, Rest

CLIP_TOKENS = 257
"""Of a picture that image to video attends to."""


def _of_frames(modulation: torch.Tensor, selection: Selection) -> torch.Tensor:
    """Modulation [B, 1 or frames, 6, d] -> the same where it is one for all tokens, otherwise [B, k, 6, d]."""
    frames = modulation.shape[1]
    if frames == 1:
        return modulation
    frame = selection.indices // math.ceil(selection.tokens / frames)
    return modulation.gather(1, frame[..., None, None].expand(-1, -1, *modulation.shape[2:]))


class Wan(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "Wan 2.1 / 2.2"
    preset = "quality"
    classes = (("comfy.ldm.wan.model", "WanModel"),)
    arguments = frozenset({"clip_fea", "denoise_mask", "reference_latent"})
    layout = Layout(
        blocks=(Blocks("blocks", "double_block"),),
        rest=Rest.IN_FRONT,
        per_token={"pe": 1, "vec": _of_frames},
        attention=(0,),  # then to a picture in image to video, then to text
    )

    def cost(self, transformer: Any) -> ModelCost:
        blocks = transformer.blocks
        text = parts_macs(blocks, "cross_attn.k", "cross_attn.v")
        picture = parts_macs(blocks, "cross_attn.k_img", "cross_attn.v_img")
        widths = (transformer.dim,) * len(blocks)
        clip = CLIP_TOKENS if transformer.img_emb is not None else 0
        return ModelCost(
            # a picture's tokens are as many for every video
            per_block_token=linear_macs(blocks) - text - picture + 2 * clip * sum(widths),
            per_image_token=transformer.patch_embedding.weight.numel() + linear_macs(transformer.head),
            per_text_token=text + linear_macs(transformer.text_embedding),
            per_sample=linear_macs(transformer.time_embedding, transformer.time_projection)
            + clip * (picture + linear_macs(transformer.img_emb)),
            image_widths=widths,
            cross_widths=widths,
        )

    def refuses(self, transformer: Any, extra: dict[str, Any]) -> str | None:
        if extra.get("reference_latent") is not None and extra.get("denoise_mask") is not None:
            return "a reference picture and given frames together are not supported"
        return None

    def beside(self, transformer: Any, tokens: int, extra: dict[str, Any]) -> int:
        reference = extra.get("reference_latent")
        if reference is None or transformer.ref_conv is None:
            return 0
        _, rows, columns = transformer.patch_size
        return (reference.shape[-2] // rows) * (reference.shape[-1] // columns)
