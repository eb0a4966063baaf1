"""CogVideoX: joint attention over text and video, each with rows of its own.

Host file: ``comfy/ldm/cogvideo/model.py``. The blocks have no slots. Rotary embeddings, of all models but the smallest,
are a cosine and a sine with a row per token of the video.

Tested on ComfyUI 0.30.0, 0.24.0. Older ones do not have it.
"""

from __future__ import annotations

from typing import Any

import torch

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from ..architecture.costs import linear_macs, parts_macs
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout
from ..architecture.rows import gather_rows


class _Rows:
    """Rows [B, k, d] where the host has [k, d] for all samples and asks for ``rows[None, None, :, :]``."""

    def __init__(self, rows: torch.Tensor):
        self.rows = rows

    def __getitem__(self, _: Any) -> torch.Tensor:
        return self.rows.unsqueeze(1)


def _gather_rotary(pe: tuple[torch.Tensor, torch.Tensor], selection: Selection) -> tuple[_Rows, _Rows]:
    cos, sin = (_Rows(gather_rows(part.unsqueeze(0), selection)) for part in pe)
    return cos, sin


class CogVideoX(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "CogVideoX"
    preset = "quality"
    classes = (("comfy.ldm.cogvideo.model", "CogVideoXTransformer3DModel"),)
    arguments = frozenset({"ofs"})
    layout = Layout(
        blocks=(Blocks("blocks"),),
        image="hidden_states",
        text="encoder_hidden_states",
        per_token={"image_rotary_emb": _gather_rotary},
        end="norm_final",
    )

    def patch(self, transformer: Any) -> tuple[int, int, int]:
        return transformer.patch_size_t or 1, transformer.patch_size, transformer.patch_size

    def cost(self, transformer: Any) -> ModelCost:
        blocks, embedding, output = transformer.blocks, transformer.patch_embed, transformer.proj_out
        both = parts_macs(blocks, "q", "k", "v", "attn_out", "ff_proj", "ff_out")
        # tokens of one frame are embedded by a convolution, those of two by a linear layer
        image_in = linear_macs(embedding.proj) or embedding.proj.weight.numel()
        return ModelCost(
            per_block_token=both,
            per_image_token=image_in + linear_macs(output),
            per_text_token=both + linear_macs(embedding.text_proj),
            per_sample=linear_macs(transformer) - both - linear_macs(embedding, output),
            joint_widths=(transformer.dim,) * len(blocks),
        )
