"""HunyuanVideo and HunyuanImage: double blocks with joint attention, then single blocks over one sequence.

Host file: ``comfy/ldm/hunyuan_video/model.py``. Sequences are image or video, then text. Before the blocks a refiner
runs over the text. Rotary embeddings have a row per token of the whole sequence; the attention mask is over
keys, of which there are as many at pruned steps.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from .family import Family
from .hooks import changing, gather_control, gather_rows, hook_blocks, linear_macs, once, scatter_rows


class HunyuanVideo(Family):
    """See :class:`cat_core.host.families.family.Family`."""

    name = "HunyuanVideo / HunyuanImage"
    preset = "quality"
    classes = (("comfy.ldm.hunyuan_video.model", "HunyuanVideo"),)

    def patch(self, transformer: Any) -> tuple[int, int, int]:
        *frames, rows, columns = transformer.patch_size
        return (frames or [1])[0], rows, columns

    def cost(self, transformer: Any) -> ModelCost:
        doubles, singles = transformer.double_blocks, transformer.single_blocks
        refiner = transformer.txt_in
        both = sum(linear_macs(block.linear1, block.linear2) for block in singles)
        image = sum(linear_macs(block.img_attn, block.img_mlp) for block in doubles)
        text = sum(linear_macs(block.txt_attn, block.txt_mlp) for block in doubles)
        text += linear_macs(refiner.input_embedder)
        text += sum(linear_macs(block.self_attn, block.mlp) for block in _refiner(transformer))
        output = linear_macs(transformer.final_layer.linear)
        return ModelCost(
            per_block_token=image + both,
            per_image_token=transformer.img_in.proj.weight.numel() + output,
            per_text_token=text + both,
            per_sample=linear_macs(transformer) - image - text - both - output,
            joint_widths=(transformer.hidden_size,) * (len(doubles) + len(singles)),
        )

    def other_tokens(self, transformer: Any, text: int, extra: dict[str, Any]) -> int:
        further = [extra.get(name) for name in ("txt_byt5", "clip_fea")]
        return text + sum(tokens.shape[1] for tokens in further if tokens is not None)

    def refuses(self, transformer: Any, extra: dict[str, Any], options: dict[str, Any]) -> str | None:
        if extra.get("ref_latent") is not None:
            return "a reference latent is not supported"
        if extra.get("guiding_frame_index") is not None:
            return "a guiding frame has a modulation of its own"
        if (extra.get("control") or {}).get("output"):
            return "a ControlNet adds to single blocks"
        return super().refuses(transformer, extra, options)

    def attends_to_image(self, transformer: Any, number: int) -> bool:
        return number >= len(_refiner(transformer))

    @contextmanager
    def prune(self, transformer: Any, options: dict[str, Any], control: Any, selection: Selection, attention: Any):
        doubles, singles = len(transformer.double_blocks), len(transformer.single_blocks)
        slots = [("double_block", i) for i in range(doubles)] + [("single_block", i) for i in range(singles)]

        def enter(args: dict[str, Any]) -> dict[str, Any]:
            attention.after = args["txt"].shape[1]
            return {**args, "img": selection.gather(args["img"])}

        options = hook_blocks(
            options,
            slots,
            enter=enter,
            each=changing(pe=once(lambda pe: gather_rows(pe, selection, dim=2))),
            leave=changing(img=lambda img: scatter_rows(img, selection)),
        )
        yield options, gather_control(control, "input", selection)


def _refiner(transformer: Any) -> Any:
    return transformer.txt_in.individual_token_refiner.blocks
