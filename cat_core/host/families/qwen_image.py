"""Qwen-Image and Qwen-Image-Edit: double blocks with joint attention over text, image and reference latents.

Host file: ``comfy/ldm/qwen_image/model.py``. Reference latents stand behind the image and are computed in full. Rotary
embeddings have a row per token of the whole sequence. Latents have one frame or, of a layered picture, one for a layer.
A mask of the text is made by each block for as many tokens as it is given.

Tested on ComfyUI 0.30.0, 0.24.0, 0.18.2, 0.3.75.
"""

from __future__ import annotations

from typing import Any

from ...algorithm.macs import ModelCost
from ..architecture.costs import linear_macs, model_cost, parts_macs
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout, Rest


class QwenImage(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "Qwen-Image"
    classes = (("comfy.ldm.qwen_image.model", "QwenImageTransformer2DModel"),)
    arguments = frozenset({"additional_t_cond", "attention_mask", "ref_latents", "ref_latents_method"})
    references = True
    layout = Layout(
        blocks=(Blocks("transformer_blocks", "double_block"),),
        text="txt",
        rest=Rest.BEHIND,
        per_token={"pe": 2},
        controls={"input": "transformer_blocks"},
    )

    def cost(self, transformer: Any) -> ModelCost:
        blocks = transformer.transformer_blocks
        image, text = (
            parts_macs(blocks, f"{kind}_mlp", *(f"attn.{name}" for name in names))
            for kind, names in _PROJECTIONS.items()
        )
        return model_cost(
            transformer,
            image=image,
            text=text + linear_macs(transformer.txt_in),
            ends=linear_macs(transformer.img_in, transformer.proj_out),
            joint_widths=(transformer.inner_dim,) * len(blocks),
        )

    def reference_method(self, transformer: Any) -> str | None:
        return getattr(transformer, "default_ref_method", None)


_PROJECTIONS = {
    "img": ("to_q", "to_k", "to_v", "to_out"),
    "txt": ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
}
