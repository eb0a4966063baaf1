"""Stable Diffusion 3 and 3.5: MMDiT, and MMDiT-X with a second attention over image tokens in some blocks.

Host file: ``comfy/ldm/modules/diffusionmodules/mmdit.py``. Joint attention over text tokens, then image tokens;
position embeddings are added before the first block, so gathered tokens carry theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection

_CLASS = ("comfy.ldm.modules.diffusionmodules.mmdit", "OpenAISignatureMMDITWrapper")


class SD3:
    """See :class:`cat_core.host.families.family.Family`."""

    name = "SD3 / SD3.5"
    patch_size = 2

    def matches(self, transformer: torch.nn.Module) -> bool:
        kind = type(transformer)
        return (kind.__module__, kind.__name__) == _CLASS and transformer.patch_size == self.patch_size

    def cost(self, transformer: Any) -> ModelCost:
        width = transformer.hidden_size
        blocks = transformer.joint_blocks
        ends = transformer.final_layer
        return ModelCost(
            per_block_token=sum(_linear(b.x_block) - _linear(b.x_block.adaLN_modulation) for b in blocks),
            per_image_token=transformer.x_embedder.proj.weight.numel() + ends.linear.weight.numel(),
            per_text_token=_linear(transformer.context_embedder)
            + _linear(transformer.context_processor)
            + sum(_linear(b.context_block) - _linear(b.context_block.adaLN_modulation) for b in blocks),
            per_sample=_linear(transformer.t_embedder)
            + _linear(transformer.y_embedder)
            + _linear(ends.adaLN_modulation)
            + sum(_linear(part.adaLN_modulation) for b in blocks for part in (b.x_block, b.context_block)),
            joint_widths=(width,) * len(blocks),
            image_widths=(width,) * sum(b.x_block.x_block_self_attn for b in blocks),
        )

    def foreign_hooks(self, options: dict[str, Any]) -> str | None:
        replaced = options.get("patches_replace", {}).get("dit", {})
        return "another node replaces transformer blocks" if replaced else None

    def prune(self, transformer: Any, options: dict[str, Any], control: Any, selection: Selection) -> tuple[dict, Any]:
        last = len(transformer.joint_blocks) - 1
        hooks: dict[tuple[str, int], Callable] = {("double_block", 0): _gathering(selection)}
        hooks["double_block", last] = _scattering(selection, hooks.get(("double_block", last)))
        replace = {**options.get("patches_replace", {}), "dit": hooks}
        return {**options, "patches_replace": replace}, _gather_control(control, selection, last)


def _linear(module: torch.nn.Module | None) -> int:
    if module is None:
        return 0
    return sum(m.weight.numel() for m in module.modules() if isinstance(m, torch.nn.Linear))


def _gathering(selection: Selection) -> Callable:
    def hook(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        return extra["original_block"]({**args, "img": selection.gather(args["img"])})

    return hook


def _scattering(selection: Selection, before: Callable | None) -> Callable:
    def hook(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        out = before(args, extra) if before else extra["original_block"](args)
        return {**out, "img": selection.scatter(out["img"])}

    return hook


def _gather_control(control: Any, selection: Selection, last: int) -> Any:
    """Residuals are added after each block, to gathered tokens everywhere but after the last block."""
    residuals = (control or {}).get("output")
    if not residuals:
        return control
    gathered = [
        residual if residual is None or i >= last else selection.gather(residual)
        for i, residual in enumerate(residuals)
    ]
    return {**control, "output": gathered}
