"""Costs of an architecture, read from its own layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ...algorithm.macs import ModelCost


def linear_macs(*modules: torch.nn.Module | None) -> int:
    """MACs of all linear layers of the modules for one token, whatever their weights are packed as.

    What is no module, say a function in place of a projection, has none.
    """
    layers: Iterable[Any] = (
        layer for module in modules if isinstance(module, torch.nn.Module) for layer in module.modules()
    )
    # other modules, too, may tell what they take in
    sizes = ((getattr(layer, "in_features", 0), getattr(layer, "out_features", 0)) for layer in layers)
    return sum(given * made for given, made in sizes)


def parts_macs(modules: Any, *names: str) -> int:
    """MACs of the named parts (``"attn.to_q"``) of every module, for one token; a part that one lacks has none."""
    return linear_macs(*(_part(module, name) for module in modules for name in names))


def _part(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name, None)
    return module


def model_cost(
    transformer: torch.nn.Module,
    image: int = 0,
    text: int = 0,
    both: int = 0,
    ends: int = 0,
    convolution: int = 0,
    sample: int = 0,
    companion: int = 0,
    **widths: tuple[int, ...],
) -> ModelCost:
    """Costs by what is computed for which tokens; all other linear layers are computed once a sample.

    Args:
        transformer: the whole model.
        image: MACs of all blocks per image token.
        text: of all blocks and the embedding, per token of text.
        both: of blocks over one sequence, per token of either.
        ends: of linear layers in front of and behind the blocks, per image token.
        convolution: of the embedding, where that is no linear layer, per image token.
        sample: further MACs of a sample.
        companion: of all layers, per token of another latent that goes along, say of a video's sound.
        **widths: of attention, see :class:`cat_core.algorithm.macs.ModelCost`.
    """
    return ModelCost(
        per_block_token=image + both,
        per_image_token=ends + convolution,
        per_text_token=text + both,
        per_sample=linear_macs(transformer) - image - text - both - ends - companion + sample,
        per_companion=companion,
        **widths,
    )
