"""HiDream-I1: double blocks with joint attention, then single blocks over one sequence, with experts for each token.

Host file: ``comfy/ldm/hidream/model.py``. Sequences are image, T5, Llama's last layer, Llama's layer of the block.
Rotary embeddings have a row per token of the whole sequence. After the blocks the host cuts the sequence to the length
that entered them, so tokens are scattered in front of the final layer.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from .family import Family
from .hooks import gather_rows, hooked, linear_macs, once


class HiDream(Family):
    """See :class:`cat_core.host.families.family.Family`."""

    name = "HiDream"
    classes = (("comfy.ldm.hidream.model", "HiDreamImageTransformer2DModel"),)
    compilable = False

    def patch(self, transformer: Any) -> tuple[int, int, int]:
        return 1, transformer.patch_size, transformer.patch_size

    def cost(self, transformer: Any) -> ModelCost:
        doubles = [block.block for block in transformer.double_stream_blocks]
        singles = [block.block for block in transformer.single_stream_blocks]
        ends = transformer.final_layer
        both = sum(linear_macs(block.attn1) + _experts(block.ff_i) for block in singles)
        text = sum(linear_macs(block.ff_t) + _attention(block.attn1, "_t") for block in doubles)
        return ModelCost(
            per_block_token=both + sum(_experts(block.ff_i) + _attention(block.attn1) for block in doubles),
            per_image_token=linear_macs(transformer.x_embedder, ends.linear),
            # one token of T5 and one of Llama are three in a block; the latter is projected for every block
            per_text_token=both + text + linear_macs(transformer.caption_projection) // 3,
            per_sample=linear_macs(transformer.t_embedder, transformer.p_embedder, ends.adaLN_modulation)
            + linear_macs(*(block.adaLN_modulation for block in doubles + singles)),
            joint_widths=(transformer.inner_dim,) * len(doubles + singles),
        )

    def refuses(self, transformer: Any, extra: dict[str, Any], options: dict[str, Any]) -> str | None:
        if extra.get("image_cond") is not None:
            return "an image to edit (HiDream-E1) is not supported"
        return super().refuses(transformer, extra, options)

    def other_tokens(self, transformer: Any, text: int, extra: dict[str, Any]) -> int:
        return text + 2 * extra["encoder_hidden_states_llama3"].shape[2]

    @contextmanager
    def prune(self, transformer: Any, options: dict[str, Any], control: Any, selection: Selection, attention: Any):
        blocks = [*transformer.double_stream_blocks, *transformer.single_stream_blocks]
        attention.after = None
        rotary = once(lambda rope: gather_rows(rope, selection))

        def enter(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            return args, {**kwargs, "image_tokens": gather_rows(kwargs["image_tokens"], selection)}

        def each(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            return args, {**kwargs, "rope": rotary(kwargs["rope"])}

        def leave(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            return (selection.scatter(args[0]), *args[1:]), kwargs

        with hooked([(blocks[0], enter), *((block, each) for block in blocks), (transformer.final_layer, leave)], []):
            yield options, control


def _attention(module: Any, kind: str = "") -> int:
    """MACs of an attention's projections of image tokens, or with ``_t`` of text tokens."""
    return linear_macs(*(getattr(module, part + kind) for part in ("to_q", "to_k", "to_v", "to_out")))


def _experts(module: Any) -> int:
    """MACs of a feed-forward for one token, which some of the experts compute."""
    if not hasattr(module, "experts"):
        return linear_macs(module)
    routed = module.num_activated_experts * linear_macs(module.experts[0])
    return linear_macs(module.shared_experts) + module.gate.weight.numel() + routed
