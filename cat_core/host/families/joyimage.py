"""JoyImage-Edit: double blocks with joint attention over image, reference latents, then text.

Host file: ``comfy/ldm/joyimage/model.py``. Rotary embeddings have a row per token of image and references, which are
computed in full.

Tested on ComfyUI 0.30.0. Older ones do not have it.
"""

from __future__ import annotations

from typing import Any

from ...algorithm.macs import ModelCost
from ..architecture.costs import linear_macs, model_cost, parts_macs
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout, Rest
from ..tokens import count_tokens


class JoyImage(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "JoyImage-Edit"
    classes = (("comfy.ldm.joyimage.model", "JoyImageTransformer3DModel"),)
    arguments = frozenset({"ref_latents"})
    layout = Layout(
        blocks=(Blocks("double_blocks", "double_block"),),
        rest=Rest.BEHIND,
        per_token={"pe": 1},
    )

    def cost(self, transformer: Any) -> ModelCost:
        blocks, conditions = transformer.double_blocks, transformer.condition_embedder
        image, text = (
            parts_macs(blocks, f"attn.{kind}_attn_qkv", f"attn.{kind}_attn_proj", f"{kind}_mlp")
            for kind in ("img", "txt")
        )
        return model_cost(
            transformer,
            image=image,
            text=text + linear_macs(conditions.text_embedder),
            ends=linear_macs(transformer.proj_out),
            convolution=transformer.img_in.weight.numel(),
            joint_widths=(transformer.img_in.out_channels,) * len(blocks),
        )

    def beside(self, transformer: Any, tokens: int, extra: dict[str, Any]) -> int:
        return count_tokens(extra.get("ref_latents"), self.patch(transformer))
