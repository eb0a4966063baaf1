"""Whether caches of keys and values fit into memory: the host does not know of them when it plans."""

from __future__ import annotations

from typing import Any

import torch
from comfy import model_management

from ..settings import CATSettings

GIB = 2**30


def reason_too_large(values: int, model: Any, x: torch.Tensor, settings: CATSettings) -> str | None:
    """Why caches must not be made, or None.

    Args:
        values: numbers to be cached.
        model: the host's ``BaseModel``, which estimates what a call of its own takes.
        x: the call's latents [B, C, (T,) H, W].
        settings: cache dtype and device are used.
    """
    own_dtype = model.manual_cast_dtype or model.get_dtype()
    dtype = own_dtype if settings.cache_dtype == "model" else getattr(torch, settings.cache_dtype)
    elsewhere = settings.cache_device != "model"
    free = model_management.get_free_memory(torch.device(settings.cache_device) if elsewhere else x.device)
    needed, own = values * dtype.itemsize, 0 if elsewhere else model.memory_required(list(x.shape))
    if needed + own <= free:
        return None
    return (
        f"keys and values would take {needed / GIB:.1f} GiB of {max(free - own, 0) / GIB:.1f} GiB that are free "
        "(preset quality keeps none; cache_dtype and cache_device make them smaller or put them elsewhere)"
    )
