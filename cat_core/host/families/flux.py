"""Flux.1 and Flux.2: double blocks with joint attention, then single blocks over one sequence.

Host file: ``comfy/ldm/flux/model.py``. Sequences are text, image, reference latents (Kontext, Flux.2 editing), which
are computed in full. Rotary embeddings have a row per token of the whole sequence.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from ..tokens import TokenGrid
from .family import Family
from .hooks import changing, gather_control, gather_rows, hook_blocks, linear_macs, once, scatter_rows


class Flux(Family):
    """See :class:`cat_core.host.families.family.Family`."""

    name = "Flux"
    classes = (("comfy.ldm.flux.model", "Flux"),)

    def patch(self, transformer: Any) -> tuple[int, int, int]:
        return 1, transformer.patch_size, transformer.patch_size

    def cost(self, transformer: Any) -> ModelCost:
        doubles, singles = transformer.double_blocks, transformer.single_blocks
        image = sum(linear_macs(block.img_attn, block.img_mlp) for block in doubles)
        text = sum(linear_macs(block.txt_attn, block.txt_mlp) for block in doubles) + linear_macs(transformer.txt_in)
        both = sum(linear_macs(block.linear1, block.linear2) for block in singles)
        ends = linear_macs(transformer.img_in, transformer.final_layer.linear)
        return ModelCost(
            per_block_token=image + both,
            per_image_token=ends,
            per_text_token=text + both,
            per_sample=linear_macs(transformer) - image - text - both - ends,
            joint_widths=(transformer.hidden_size,) * (len(doubles) + len(singles)),
        )

    def other_tokens(self, transformer: Any, text: int, extra: dict[str, Any]) -> int:
        patch = self.patch(transformer)
        return text + sum(TokenGrid(tuple(ref.shape[2:]), patch).tokens for ref in extra.get("ref_latents") or ())

    def refuses(self, transformer: Any, extra: dict[str, Any], options: dict[str, Any]) -> str | None:
        if extra.get("attention_mask") is not None:
            return "an attention mask is given with the prompt"
        return super().refuses(transformer, extra, options)

    @contextmanager
    def prune(self, transformer: Any, options: dict[str, Any], control: Any, selection: Selection, attention: Any):
        doubles, singles = len(transformer.double_blocks), len(transformer.single_blocks)
        slots = [("double_block", i) for i in range(doubles)] + [("single_block", i) for i in range(singles)]
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
            leave=changing(img=lambda img: scatter_rows(img, selection, before=text)),
        )
        control = gather_control(control, "input", selection)
        yield options, gather_control(control, "output", selection, last=singles - 1)
