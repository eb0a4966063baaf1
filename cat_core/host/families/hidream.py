"""HiDream-I1: double blocks with joint attention, then single blocks over one sequence, with experts for each token.

Host file: ``comfy/ldm/hidream/model.py``. Sequences are image, T5, Llama's last layer, Llama's layer of the block.
Rotary embeddings have a row per token of the whole sequence. After the blocks the host cuts the sequence to the length
that entered them, so tokens are scattered in front of the final layer.

Tested on ComfyUI 0.30.0, 0.24.0, 0.18.2, 0.3.75.
"""

from __future__ import annotations

from typing import Any

from ...algorithm.macs import ModelCost
from ..architecture.costs import linear_macs, parts_macs
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout


class HiDream(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "HiDream"
    classes = (("comfy.ldm.hidream.model", "HiDreamImageTransformer2DModel"),)
    arguments = frozenset({"encoder_hidden_states_llama3", "y"})
    layout = Layout(
        blocks=(Blocks("double_stream_blocks"), Blocks("single_stream_blocks")),
        image="image_tokens",
        per_token={"rope": 1},
        end="final_layer",
    )

    def cost(self, transformer: Any) -> ModelCost:
        doubles = [block.block for block in transformer.double_stream_blocks]
        singles = [block.block for block in transformer.single_stream_blocks]
        ends = transformer.final_layer
        both = parts_macs(singles, "attn1") + sum(_experts(block.ff_i) for block in singles)
        text = parts_macs(doubles, "ff_t", *(f"attn1.{name}_t" for name in _PROJECTIONS))
        image = parts_macs(doubles, *(f"attn1.{name}" for name in _PROJECTIONS))
        return ModelCost(
            per_block_token=both + image + sum(_experts(block.ff_i) for block in doubles),
            per_image_token=linear_macs(transformer.x_embedder, ends.linear),
            # one token of T5 and one of Llama are three in a block; the latter is projected for every block
            per_text_token=both + text + linear_macs(transformer.caption_projection) // 3,
            per_sample=linear_macs(transformer.t_embedder, transformer.p_embedder, ends.adaLN_modulation)
            + parts_macs(doubles + singles, "adaLN_modulation"),
            joint_widths=(transformer.inner_dim,) * len(doubles + singles),
        )

    def other_tokens(self, transformer: Any, text: int, extra: dict[str, Any]) -> int:
        return text + 2 * extra["encoder_hidden_states_llama3"].shape[2]


_PROJECTIONS = ("to_q", "to_k", "to_v", "to_out")


def _experts(module: Any) -> int:
    """MACs of a feed-forward for one token, which some of the experts compute."""
    if not hasattr(module, "experts"):
        return linear_macs(module)
    routed = module.num_activated_experts * linear_macs(module.experts[0])
    return linear_macs(module.shared_experts) + module.gate.weight.numel() + routed
