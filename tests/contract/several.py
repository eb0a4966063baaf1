"""The host's MultiGPU CFG Split on one machine: its own copies, dealing and threads, devices that are all the CPU.

``cpu``, ``cpu:0`` and ``cpu:1`` are names of one device that are not equal; nothing else is put in place of anything.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import comfy.model_patcher
import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP

from cat_core.settings import CATSettings

if not hasattr(comfy.model_patcher.ModelPatcher, "deepclone_multigpu"):
    pytest.skip("this host has no MultiGPU CFG Split", allow_module_level=True)


TOKENS = CATSettings(
    keep_ratio=0.3,
    pruned_interval=2,
    warmup_steps=2,
    refresh_interval=4,
    final_full_steps=1,
    propagation=0.5,
    correction=0.5,
)
"""Of all kinds of steps some, in a short run."""


def share_out(build: Callable[[], Any], devices: int = 2) -> Any:
    """A model as the host's node leaves it, for several devices."""
    # the host fails where Python frees an earlier test's models while it makes room for these
    gc.collect()
    model = build()
    model.load_device = torch.device("cpu")
    model.cached_patcher_init = build, ()
    found = [model.deepclone_multigpu(torch.device("cpu", number)) for number in range(devices - 1)]
    for copy in found:
        copy.is_multigpu_base_clone = True
    model.set_additional_models("multigpu", found)
    return model


def copies(model: Any) -> list[Any]:
    """All patchers of a shared model, its own first."""
    return [model, *model.get_additional_models_with_key("multigpu")]


def deal(model: Any, order: Callable[[Any, list], list]) -> Any:
    """Change the order in which the host deals conditionings out to devices, at every evaluation.

    ``order`` is given the pack's run and the devices.
    """

    def evaluate(executor, base, conds, x, timestep, model_options):
        copies_by_device = model_options["multigpu_clones"]
        run = model_options["transformer_options"].get("cat_pruning")
        ordered = {device: copies_by_device[device] for device in order(run, list(copies_by_device))}
        return executor(base, conds, x, timestep, {**model_options, "multigpu_clones": ordered})

    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "dealing", evaluate)
    return clone
