"""Lumina 2 and Z-Image: single blocks over one sequence of text and image tokens.

Host file: ``comfy/ldm/lumina/model.py``. Before the blocks, refiners run over text and over image tokens, the latter
with attention of all to all: they see every token. Z-Image pads the text and the image to multiples of 32 tokens; the
image's pads lie behind it and go through the blocks. Rotary embeddings have a row per token of the whole sequence.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from .family import Family
from .hooks import gather_rows, hooked, linear_macs, once, scatter_rows


class Lumina2(Family):
    """See :class:`cat_core.host.families.family.Family`."""

    name = "Lumina 2 / Z-Image"
    classes = (("comfy.ldm.lumina.model", "NextDiT"),)
    compilable = False

    def patch(self, transformer: Any) -> tuple[int, int, int]:
        return 1, transformer.patch_size, transformer.patch_size

    def cost(self, transformer: Any) -> ModelCost:
        layers, refiners, ends = transformer.layers, transformer.noise_refiner, transformer.final_layer.linear
        blocks = sum(linear_macs(layer.attention, layer.feed_forward) for layer in layers)
        image = sum(linear_macs(layer.attention, layer.feed_forward) for layer in refiners)
        image += linear_macs(transformer.x_embedder, ends)
        text = linear_macs(transformer.context_refiner, transformer.cap_embedder)
        return ModelCost(
            per_block_token=blocks,
            per_image_token=image,
            per_text_token=blocks + text + linear_macs(ends),
            per_sample=linear_macs(transformer) - blocks - image - text,
            joint_widths=(transformer.dim,) * len(layers),
            whole_widths=(transformer.dim,) * len(refiners),
        )

    def refuses(self, transformer: Any, extra: dict[str, Any], options: dict[str, Any]) -> str | None:
        if any(extra.get(name) is not None for name in ("ref_latents", "ref_contexts", "siglip_feats")):
            return "reference images are not supported"
        if options.get("patches", {}).get("double_block"):
            return "another node adds to transformer blocks"
        return super().refuses(transformer, extra, options)

    def other_tokens(self, transformer: Any, text: int, extra: dict[str, Any]) -> int:
        return text + -text % (transformer.pad_tokens_multiple or 1)

    def attends_to_image(self, transformer: Any, number: int) -> bool:
        return number >= len(transformer.context_refiner) + len(transformer.noise_refiner)

    @contextmanager
    def prune(self, transformer: Any, options: dict[str, Any], control: Any, selection: Selection, attention: Any):
        layers = transformer.layers
        pads = attention.after = -selection.tokens % (transformer.pad_tokens_multiple or 1)
        text = 0

        def enter(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            nonlocal text
            x, *others = args
            text = x.shape[1] - selection.tokens - pads
            return (gather_rows(x, selection, before=text), *others), kwargs

        rotary = once(lambda freqs: gather_rows(freqs, selection, before=text))

        def each(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            x, mask, freqs, *others = args
            return (x, mask, rotary(freqs), *others), kwargs

        def leave(x: Any) -> Any:
            return scatter_rows(x, selection, before=text)

        with hooked([(layers[0], enter), *((layer, each) for layer in layers)], [(layers[-1], leave)]):
            yield options, control
