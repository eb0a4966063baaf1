"""Multiply-accumulates of a transformer call, from the shapes of its layers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelCost:
    """Linear-layer MACs of one transformer, and what its attention multiplies.

    Attributes:
        per_block_token: all blocks together, per computed image token.
        per_image_token: embedding and output layers, per image token, computed or not.
        per_text_token: all blocks and the text embedding, per text token.
        per_sample: timestep, pooled text and modulation, per sample.
        joint_widths: widths d of the layers where image and text attend to both.
        image_widths: widths d of the layers where image tokens attend to image tokens.
        cross_widths: widths d of the layers where image tokens attend to text.
        whole_widths: widths d of the layers in front of the blocks where all image tokens attend to each other.
        per_companion: all layers, per token of another latent that goes along, say of a video's sound.
        companion_widths: widths d of the layers where these attend to each other, to text and to image tokens, and
            image tokens attend to them.
    """

    per_block_token: int
    per_image_token: int
    per_text_token: int
    per_sample: int
    joint_widths: tuple[int, ...] = ()
    image_widths: tuple[int, ...] = ()
    cross_widths: tuple[int, ...] = ()
    whole_widths: tuple[int, ...] = ()
    per_companion: int = 0
    companion_widths: tuple[int, ...] = ()

    def linear(self, tokens: int, computed: int, text: int, companions: int = 0) -> int:
        """MACs of the linear layers for one sample with ``computed`` of ``tokens`` image tokens in the blocks."""
        return (
            self.per_block_token * computed
            + self.per_image_token * tokens
            + self.per_text_token * text
            + self.per_companion * companions
            + self.per_sample
        )

    def attention(self, tokens: int, computed: int, text: int, companions: int = 0) -> int:
        """MACs of QK^T and AV for one sample: queries of computed tokens, text and companions, keys of all."""
        joint = (computed + text) * (tokens + text) * sum(self.joint_widths)
        image = computed * (tokens * sum(self.image_widths) + text * sum(self.cross_widths))
        beside = companions * (companions + text + tokens + computed) * sum(self.companion_widths)
        return 2 * (joint + image + beside + tokens * tokens * sum(self.whole_widths))

    def count_cached(self, tokens: int, text: int) -> int:
        """Numbers in the caches of keys and values of one sample."""
        alone = sum(self.image_widths) + sum(self.companion_widths)
        return 2 * ((tokens + text) * sum(self.joint_widths) + tokens * alone)

    def total(self, tokens: int, computed: int, text: int, companions: int = 0) -> int:
        """Linear layers and attention for one sample."""
        counts = tokens, computed, text, companions
        return self.linear(*counts) + self.attention(*counts)
