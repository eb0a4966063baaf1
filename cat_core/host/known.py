"""What may stand beside pruned steps: a list of what is known to be right. All else means idle steps, with its name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers.torch_compile import COMPILE_KEY

from .architecture.family import Family
from .attention import OVERRIDE
from .call import THREAD_DEVICE, ModelCall

KEY = "cat_pruning"
"""The pack's own name among wrappers, attachments and options."""

OPTIONS = {
    *("cond_or_uncond", "uuids", "sigmas", "sample_sigmas"),  # which call this is (comfy/samplers.py)
    *("patches", "patches_replace", "wrappers", "callbacks"),  # looked at by themselves below
    "rope_options",  # moves positions; there are as many rows
    "prefetch_dynamic_vbars",  # how weights come to the device
    THREAD_DEVICE,  # whose model and tensors these are
    OVERRIDE,
    KEY,
}
WRAPPERS = {KEY, COMPILE_KEY}
TRANSFORMER = "diffusion_model"


def find_unknown_in_call(family: Family, call: ModelCall) -> str | None:
    """What of a call's arguments and options a family does not know, or None.

    Wrappers of other nodes around the model matter too: what they keep of a pruned call (say EasyCache, for a later
    step) would be wrong where nothing was computed.
    """
    return next(_list_unknown(family, call), None)


def _list_unknown(family: Family, call: ModelCall) -> Iterator[str]:
    options = call.options
    if call.further:
        yield "the model is given further arguments"
    if unknown := _name_given(call.extra) - family.arguments:
        yield f"the model is given {_join_names(unknown)}"
    residuals = {kind: any(part is not None for part in parts) or None for kind, parts in (call.control or {}).items()}
    if unknown := _name_given(residuals) - set(family.layout.controls):
        yield f"a ControlNet adds to blocks of the kind {_join_names(unknown)}"
    if options.get("patches_replace", {}).get("dit"):
        yield "another node replaces transformer blocks"
    patches = {kind: functions or None for kind, functions in options.get("patches", {}).items()}
    if unknown := _name_given(patches) - family.patches:
        yield f"another node adds to transformer blocks ({_join_names(unknown)})"
    if unknown := set(options) - OPTIONS:
        yield f"the model is given the options {_join_names(unknown)}"
    for kind in (WrappersMP.APPLY_MODEL, WrappersMP.DIFFUSION_MODEL):
        wrappers = {name: functions or None for name, functions in options.get("wrappers", {}).get(kind, {}).items()}
        if unknown := _name_given(wrappers) - WRAPPERS:
            yield f"another node wraps the model ({_join_names(unknown)})"


def _name_given(values: dict[str, Any]) -> set[str]:
    return {str(name) for name, value in values.items() if value is not None}


def find_unknown_in_patcher(model: Any) -> str | None:
    """What other nodes put in place of parts of the transformer; ``model`` is the host's ``ModelPatcher``."""
    for name, part in model.object_patches.items():
        if name.split(".")[0] == TRANSFORMER and not is_compiled(part):
            return f"another node replaces {name}"
    return None


def find_unknown_in_modules(transformer: torch.nn.Module) -> str | None:
    """A module that computes by a function that was put in front of its class's; to be asked once it is loaded."""
    for name, module in transformer.named_modules():
        if "forward" in vars(module) and not is_compiled(module):
            return "another node replaces " + ".".join(filter(None, (TRANSFORMER, name, "forward")))
    return None


def is_compiled(part: Any) -> bool:
    """Whether this is what ``torch.compile`` made of a module."""
    return isinstance(getattr(part, "_orig_mod", None), torch.nn.Module)


def is_compiled_in_parts(model: Any) -> bool:
    """Whether any part of a model is compiled, or is to be for its calls; ``model`` is the host's ``ModelPatcher``."""
    parts = model.get_model_object(TRANSFORMER), *model.object_patches.values()
    return any(map(is_compiled, parts)) or bool(model.get_wrappers(WrappersMP.APPLY_MODEL, COMPILE_KEY))


def _join_names(names: set[str]) -> str:
    return ", ".join(sorted(names))
