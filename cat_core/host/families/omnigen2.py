"""OmniGen2: single blocks over one sequence of text, reference latents and image tokens.

Host file: ``comfy/ldm/omnigen/omnigen2.py``. Before the blocks, refiners run over text, over image tokens, which all
attend to each other, and over references where there are any. Rotary embeddings have a row per token of the whole
sequence; the image is its last N tokens.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from ..tokens import TokenGrid
from .family import Family
from .hooks import gather_rows, hooked, linear_macs, once, scatter_rows


class OmniGen2(Family):
    """See :class:`cat_core.host.families.family.Family`."""

    name = "OmniGen2"
    classes = (("comfy.ldm.omnigen.omnigen2", "OmniGen2Transformer2DModel"),)
    compilable = False

    def patch(self, transformer: Any) -> tuple[int, int, int]:
        return 1, transformer.patch_size, transformer.patch_size

    def cost(self, transformer: Any) -> ModelCost:
        layers, refiners = transformer.layers, transformer.noise_refiner
        ends, conditions = transformer.norm_out, transformer.time_caption_embed
        blocks = sum(linear_macs(layer.attn, layer.feed_forward) for layer in layers)
        refined = sum(linear_macs(layer.attn, layer.feed_forward) for layer in refiners)
        # references have refiners as large as the text's, only a smaller embedding
        text = linear_macs(transformer.context_refiner, conditions.caption_embedder, ends.linear_2)
        return ModelCost(
            per_block_token=blocks,
            per_image_token=refined + linear_macs(transformer.x_embedder, ends.linear_2),
            per_text_token=blocks + text,
            per_sample=linear_macs(conditions.timestep_embedder, ends.linear_1)
            + linear_macs(*(layer.norm1 for layer in [*layers, *refiners])),
            joint_widths=(transformer.hidden_size,) * len(layers),
            whole_widths=(transformer.hidden_size,) * len(refiners),
        )

    def other_tokens(self, transformer: Any, text: int, extra: dict[str, Any]) -> int:
        patch = self.patch(transformer)
        return text + sum(TokenGrid(tuple(ref.shape[2:]), patch).tokens for ref in extra.get("ref_latents") or ())

    def attends_to_image(self, transformer: Any, number: int) -> bool:
        return number >= _refiners(transformer)

    @contextmanager
    def attending(self, transformer: Any, options: dict[str, Any], attention: Any):
        def enter(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            # the refiner of references does not always run: number the blocks' attention as if it had
            attention.number = _refiners(transformer) - 1
            return args, kwargs

        with hooked([(transformer.layers[0], enter)], []), super().attending(transformer, options, attention) as seen:
            yield seen

    @contextmanager
    def prune(self, transformer: Any, options: dict[str, Any], control: Any, selection: Selection, attention: Any):
        layers = transformer.layers
        others = 0

        def enter(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            nonlocal others
            x, *rest = args
            others = x.shape[1] - selection.tokens
            return (gather_rows(x, selection, before=others), *rest), kwargs

        rotary = once(lambda freqs: gather_rows(freqs, selection, before=others))

        def each(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            x, mask, freqs, *rest = args
            return (x, mask, rotary(freqs), *rest), kwargs

        def leave(x: Any) -> Any:
            return scatter_rows(x, selection, before=others)

        with hooked([(layers[0], enter), *((layer, each) for layer in layers)], [(layers[-1], leave)]):
            yield options, control


def _refiners(transformer: Any) -> int:
    refiners = (transformer.context_refiner, transformer.noise_refiner, transformer.ref_image_refiner)
    return sum(len(layers) for layers in refiners)
