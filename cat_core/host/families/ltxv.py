"""LTX-Video: self-attention over the video, cross-attention to text.

Host file: ``comfy/ldm/lightricks/model.py``. Rotary embeddings have a row per token; so has the modulation where frames
are given. Key frames are frames of the latent.

Tested on ComfyUI 0.30.0, 0.24.0, 0.18.2, 0.3.75.
"""

from __future__ import annotations

from typing import Any

import torch

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from ..architecture.costs import linear_macs, model_cost, parts_macs
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout
from ..architecture.rows import gather_rows


def gather_rotary(pe: Any, selection: Selection) -> Any:
    """Rotary embeddings of the selected tokens.

    Hosts give matrices [1, 1, T, d, 2, 2] (0.3.75), or a tuple: cosines and sines, both [B, T, d] or [B, heads, T, d],
    and a flag (to 0.28), or matrices [B, T, heads, d, 2, 2] and a flag.
    """
    if torch.is_tensor(pe):
        return gather_rows(pe, selection, dim=2)
    return tuple(
        gather_rows(part, selection, dim=2 if part.ndim == 4 else 1) if torch.is_tensor(part) else part for part in pe
    )


def _gather_modulation(modulation: torch.Tensor, selection: Selection) -> torch.Tensor:
    """[B, 1 or T, d]: one for all tokens, or a row for each where frames are given."""
    return modulation if modulation.shape[1] == 1 else gather_rows(modulation, selection)


class LTXV(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "LTX-Video"
    classes = (("comfy.ldm.lightricks.model", "LTXVModel"),)
    arguments = frozenset({"attention_mask", "denoise_mask", "frame_rate", "guide_attention_entries", "keyframe_idxs"})
    layout = Layout(
        blocks=(Blocks("transformer_blocks", "double_block"),),
        per_token={"pe": gather_rotary, "vec": _gather_modulation},
        attention=(0,),  # then to text
    )

    def patch(self, transformer: Any) -> tuple[int, int, int]:
        return 1, 1, 1

    def cost(self, transformer: Any) -> ModelCost:
        blocks = transformer.transformer_blocks
        text = parts_macs(blocks, "attn2.to_k", "attn2.to_v")
        widths = (transformer.inner_dim,) * len(blocks)
        return model_cost(
            transformer,
            image=linear_macs(blocks) - text,
            text=text + linear_macs(transformer.caption_projection),
            ends=linear_macs(transformer.patchify_proj, transformer.proj_out),
            image_widths=widths,
            cross_widths=widths,
        )

    def refuses(self, transformer: Any, extra: dict[str, Any]) -> str | None:
        guides = extra.get("guide_attention_entries") or ()
        if any(guide.get("strength", 1) != 1 or guide.get("pixel_mask") is not None for guide in guides):
            return "key frames have a strength of their own"
        return None
