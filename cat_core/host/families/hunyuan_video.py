"""HunyuanVideo and HunyuanImage: double blocks with joint attention, then single blocks over one sequence.

Host file: ``comfy/ldm/hunyuan_video/model.py``. Sequences are text, then image or video, and in older hosts the
other way round. Before the blocks a refiner runs over the text. Rotary embeddings have a row per token of the whole
sequence; the attention mask is over keys, of which there are as many at pruned steps.

Tested on ComfyUI 0.30.0, 0.24.0, 0.18.2, 0.3.75.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...algorithm.macs import ModelCost
from ..architecture.costs import linear_macs, model_cost, parts_macs
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout


class HunyuanVideo(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "HunyuanVideo / HunyuanImage"
    preset = "quality"
    classes = (("comfy.ldm.hunyuan_video.model", "HunyuanVideo"),)
    arguments = frozenset({"attention_mask", "clip_fea", "disable_time_r", "guidance", "txt_byt5", "y"})
    layout = Layout(
        blocks=(Blocks("double_blocks", "double_block"), Blocks("single_blocks", "single_block", joined=True)),
        text="txt",
        per_token={"pe": 2},
        controls={"input": "double_blocks"},
    )

    def find_layout(self, transformer: Any) -> Layout:
        # hosts up to 0.13 have text behind the video; their blocks have a flag for it
        flipped = getattr(transformer.double_blocks[0], "flipped_img_txt", False)
        return replace(self.layout, text=None) if flipped else self.layout

    def cost(self, transformer: Any) -> ModelCost:
        doubles, singles, refiner = transformer.double_blocks, transformer.single_blocks, transformer.txt_in
        refining = parts_macs(refiner.individual_token_refiner.blocks, "self_attn", "mlp")
        return model_cost(
            transformer,
            image=parts_macs(doubles, "img_attn", "img_mlp"),
            text=parts_macs(doubles, "txt_attn", "txt_mlp") + linear_macs(refiner.input_embedder) + refining,
            both=parts_macs(singles, "linear1", "linear2"),
            ends=linear_macs(transformer.final_layer.linear),
            convolution=transformer.img_in.proj.weight.numel(),
            # few tokens of letters and pictures are brought to the model's width: far less than a block costs
            sample=-linear_macs(transformer.byt5_in, transformer.vision_in),
            joint_widths=(transformer.hidden_size,) * (len(doubles) + len(singles)),
        )

    def other_tokens(self, transformer: Any, text: int, extra: dict[str, Any]) -> int:
        further = [extra.get(name) for name in ("txt_byt5", "clip_fea")]
        return text + sum(tokens.shape[1] for tokens in further if tokens is not None)
