"""The model's own calls: one that keeps keys and values, one that computes selected tokens alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import torch
from comfy_api.torch_helpers.torch_compile import COMPILE_KEY

from ..algorithm.selection import Selection
from ..caching.kv import KVCache
from .architecture.engine import engage
from .architecture.family import Family
from .attention import CapturingAttention, PrunedAttention
from .call import ModelCall
from .plan import Choice


def run_capturing(
    family: Family, call: ModelCall, caches: list[KVCache], out_of_memory: Callable[[], None]
) -> tuple[torch.Tensor, bool]:
    """Answer a call in full and fill its conditionings' caches.

    Returns:
        The model's answer, and whether the caches are filled now. Where memory ran out for them, ``out_of_memory`` was
        called and there are others.
    """
    layout = family.find_layout(call.transformer)
    capture = CapturingAttention(caches, layout.attention, out_of_memory)
    with (
        _run_uncompiled(call),
        engage(layout, call.transformer, call.options, call.control, capture) as (options, control),
    ):
        denoised = call.run(options, control)
    return denoised, all(cache.layers for cache in capture.caches)


def run_pruned(family: Family, call: ModelCall, caches: list[KVCache], choices: list[Choice]) -> torch.Tensor:
    """Answer a call for its conditionings' chosen tokens alone; the others' places hold nothing of use.

    Raises:
        LayoutError: the model's rows are not where its family says.
    """
    layout = family.find_layout(call.transformer)
    selections = [choice.selection for choice in choices]
    attention = PrunedAttention(caches, layout.attention, selections, [choice.propagation for choice in choices])
    whole = Selection.join(selections)
    engaged = engage(layout, call.transformer, call.options, call.control, attention, whole)
    with _run_uncompiled(call), engaged as (options, control):
        denoised = call.run(options, control)
    attention.finish()
    return denoised


def _run_uncompiled(call: ModelCall) -> ExitStack:
    """Compiled code does not see what is put into ``transformer_options`` (the host leaves it unguarded)."""
    stack = ExitStack()
    wrapped = call.options.get("wrappers", {}).get("apply_model", {})
    if call.transformer is not call.model.diffusion_model or COMPILE_KEY in wrapped:
        stack.enter_context(torch.compiler.set_stance("force_eager"))
    return stack
