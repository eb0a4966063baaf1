"""Qwen-Image and Qwen-Image-Edit: double blocks with joint attention over text, image and reference latents.

Host file: ``comfy/ldm/qwen_image/model.py``. Reference latents stand behind the image and are computed in full. Rotary
embeddings have a row per token of the whole sequence. Latents have one frame.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from ..tokens import TokenGrid
from .family import Family
from .hooks import changing, gather_control, gather_rows, hook_blocks, linear_macs, once, scatter_rows


class QwenImage(Family):
    """See :class:`cat_core.host.families.family.Family`."""

    name = "Qwen-Image"
    classes = (("comfy.ldm.qwen_image.model", "QwenImageTransformer2DModel"),)

    def patch(self, transformer: Any) -> tuple[int, int, int]:
        return 1, transformer.patch_size, transformer.patch_size

    def cost(self, transformer: Any) -> ModelCost:
        blocks = transformer.transformer_blocks
        image, text = (
            sum(linear_macs(getattr(b, f"{kind}_mlp"), *(getattr(b.attn, n) for n in names)) for b in blocks)
            for kind, names in _PROJECTIONS.items()
        )
        text += linear_macs(transformer.txt_in)
        ends = linear_macs(transformer.img_in, transformer.proj_out)
        return ModelCost(
            per_block_token=image,
            per_image_token=ends,
            per_text_token=text,
            per_sample=linear_macs(transformer) - image - text - ends,
            joint_widths=(transformer.inner_dim,) * len(blocks),
        )

    def other_tokens(self, transformer: Any, text: int, extra: dict[str, Any]) -> int:
        patch = self.patch(transformer)
        return text + sum(TokenGrid(tuple(ref.shape[2:]), patch).tokens for ref in extra.get("ref_latents") or ())

    def refuses(self, transformer: Any, extra: dict[str, Any], options: dict[str, Any]) -> str | None:
        if options.get("patches", {}).get("double_block"):
            return "another node adds to transformer blocks"
        return super().refuses(transformer, extra, options)

    @contextmanager
    def prune(self, transformer: Any, options: dict[str, Any], control: Any, selection: Selection, attention: Any):
        slots = [("double_block", i) for i in range(len(transformer.transformer_blocks))]
        text = 0

        def enter(args: dict[str, Any]) -> dict[str, Any]:
            nonlocal text
            text, attention.after = args["txt"].shape[1], args["img"].shape[1] - selection.tokens
            return {**args, "img": gather_rows(args["img"], selection)}

        rotary = once(lambda pe: gather_rows(pe, selection, before=text, dim=2))
        options = hook_blocks(
            options,
            slots,
            enter=enter,
            each=changing(pe=rotary),
            leave=changing(img=lambda img: scatter_rows(img, selection)),
        )
        yield options, gather_control(control, "input", selection, last=len(slots) - 1)


_PROJECTIONS = {
    "img": ("to_q", "to_k", "to_v", "to_out"),
    "txt": ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
}
