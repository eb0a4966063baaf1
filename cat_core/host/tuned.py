"""Preset *tuned*: settings that were found for a model, on this machine or on another one."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy.model_patcher import ModelPatcher

from ..tuned import nearest, read_folder
from .call import unwrap_compiled
from .choice import Choice, Occasion
from .known import TRANSFORMER

READ_WEIGHTS = 127
"""Matrices of a model whose values are looked at, evenly spaced; a prime, so as not to fall into step with blocks."""
READ_VALUES = 8
"""Of each, side by side: one page of a file that is not in memory yet."""


def tuned_folder() -> Path:
    """Where files of tuned settings are: every ``*.json`` in it counts, so others' are dropped beside the own one."""
    return Path(folder_paths.get_user_directory(), "default", "cat_pruning")


def tuned_file() -> Path:
    """The own one, see :func:`cat_core.tuned.add`."""
    return tuned_folder() / "tuned.json"


def fingerprint(model: ModelPatcher) -> str:
    """Of a model's transformer, 32 hexadecimal digits: names and shapes of all weights, and some values.

    It is of the weights as they were loaded, wherever they are now: the same with and without LoRAs. Models that were
    merged in a graph have that of the first one, other precisions of a model have others.
    """
    transformer = unwrap_compiled(model.get_model_object(TRANSFORMER))
    # blocks may have been compiled one by one
    named = {name.replace("_orig_mod.", ""): weight for name, weight in transformer.named_parameters()}
    weights = {name: _unpatched(model, f"{TRANSFORMER}.{name}", weight) for name, weight in named.items()}
    shapes = "".join(f"{name} {tuple(weight.shape)}\n" for name, weight in weights.items())
    digest = blake2b(shapes.encode(), digest_size=16)
    matrices = [weight for weight in weights.values() if weight.dim() > 1]
    for place, weight in enumerate(matrices):
        if place * READ_WEIGHTS % len(matrices) < READ_WEIGHTS:
            digest.update(_read_some(weight))
    return digest.hexdigest()


def _unpatched(model: ModelPatcher, key: str, weight: torch.Tensor) -> torch.Tensor:
    """A weight as it was before the host patched it in place, for the whole model or for one prompt's LoRA."""
    if key in model.backup:
        return model.backup[key].weight
    return model.hook_backup[key][0] if key in model.hook_backup else weight


def _read_some(weight: Any) -> bytes:
    """A few values from the middle of a weight, as they are stored."""
    while hasattr(weight, "__tensor_flatten__"):
        # torch's protocol for tensors made of others: of a quantised one its numbers come first, scales behind them
        weight = getattr(weight, weight.__tensor_flatten__()[0][0])
    values = weight.detach().flatten()
    some = values[len(values) // 2 :][:READ_VALUES]
    # what no file had has no values before it is loaded, and zeros then (comfy/ops.py: _zero_init_parameter)
    some = torch.zeros_like(some, device="cpu") if some.is_meta else some.cpu()
    return some.contiguous().view(torch.uint8).numpy().tobytes()


def choose_tuned(run: Occasion) -> Choice:
    """The nearest settings that were found for a run like this one; as preset automatic where there are none."""
    entries, faults = read_folder(tuned_folder())
    found = nearest(entries, fingerprint(run.model), run.sampler_name, run.guided, run.sigmas, run.tokens)
    if found is None:
        wanted = f"{run.sampler_name}, about {run.steps} steps {'with' if run.guided else 'without'} CFG"
        note = f"nothing was tuned for this model and {wanted}: as preset automatic; CAT Pruning Tune finds settings"
        return Choice(notes=(*faults, note))
    return Choice(found.settings_for(run.steps), found.steps == run.steps, (*faults, f"tuned with {found}"))
