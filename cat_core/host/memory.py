"""Room for caches of keys and values: where they are kept, and that the host learns of them before it plans."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from comfy import model_management

from ..algorithm.macs import ModelCost
from ..settings import CATSettings
from .tokens import count_tokens

GIB = 2**30
FLOAT8 = torch.float8_e4m3fn


@dataclass(frozen=True)
class Place:
    """Precision and device of cached keys and values, None for the model's own."""

    dtype: torch.dtype | None
    device: str | None

    def __str__(self) -> str:
        dtype = "they are" if self.dtype is None else str(self.dtype).removeprefix("torch.")
        return f"as {dtype}" if self.device is None else f"as {dtype} on the {self.device}"

    def bytes(self, values: int, model: Any) -> int:
        """Memory for so many numbers; ``model`` is the host's ``BaseModel``."""
        own = getattr(model, "get_dtype_inference", None)
        return values * (self.dtype or (own() if own else model.manual_cast_dtype or model.get_dtype())).itemsize

    def reason_too_small(self, values: int, model: Any, shape: Sequence[int], device: torch.device) -> str | None:
        """Why so many numbers cannot be kept beside what a call takes, or None.

        Args:
            values: how many.
            model: the host's ``BaseModel`` that is called.
            shape: [B, C, ...] of the call's latents.
            device: where it is called.
        """
        own = model.memory_required(list(shape)) if self.device is None else 0
        device = device if self.device is None else torch.device(self.device)
        free, needed = _free(device, model) - own, self.bytes(values, model)
        if needed <= free:
            return None
        available = f"{max(free, 0) / GIB:.1f} GiB that are free on {device}"
        return f"keys and values would take {needed / GIB:.1f} GiB of {available}"


def _free(device: torch.device, model: Any) -> int:
    """Bytes that can be had on a device; hosts that move weights on demand know of more than the device does."""
    asked = getattr(model.current_patcher, "get_free_memory", None)
    return asked(device) if asked and device.type != "cpu" else model_management.get_free_memory(device)


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, as the host tells it (``comfy/model_management.py``)."""
    asked = vars(model_management).get("is_oom")
    return asked(error) if asked else isinstance(error, model_management.OOM_EXCEPTION)


def outside_of_traces() -> AbstractContextManager:
    """For memory that outlives a block: hosts that record a block's allocations (since 0.34) leave these out."""
    prefetch = sys.modules.get("comfy.model_prefetch")
    return getattr(prefetch, "pause_malloc_graph", nullcontext)()


def list_places(settings: CATSettings) -> list[Place]:
    """Where caches may be kept: as asked for, then smaller, then outside of the GPU too."""
    dtype = None if settings.cache_dtype == "model" else getattr(torch, settings.cache_dtype)
    device = None if settings.cache_device == "model" else settings.cache_device
    wanted = [Place(dtype, device), Place(FLOAT8, device), Place(FLOAT8, "cpu")]
    if not model_management.supports_cast(model_management.get_torch_device(), FLOAT8):  # Macs, DirectML
        wanted = [Place(None if place.dtype is FLOAT8 else place.dtype, place.device) for place in wanted]
    return list(dict.fromkeys(wanted))


def inflate_noise_shape(noise_shape: torch.Size, needed: int, model: Any) -> list[int]:
    """A noise shape [B, C, (T,) H, W] for which the host makes so many bytes more free.

    It knows of latents alone (``comfy/sampler_helpers.py: estimate_memory``), so caches are told as further pictures.
    """
    picture = model.memory_required([1, *noise_shape[1:]])
    return [noise_shape[0] + math.ceil(needed / picture), *noise_shape[1:]]


def count_cached_values(
    cost: ModelCost, patch: tuple[int, int, int], tokens: int, conds: list[dict[str, Any]], devices: int
) -> int:
    """How many numbers the caches of a run will hold at most on a device, for each picture.

    Args:
        cost: of the model.
        patch: latent frames, rows and columns of an image token.
        tokens: how many of these there are.
        conds: the host's conditionings that will be evaluated (``comfy/sampler_helpers.py: convert_cond``).
        devices: that these are dealt out to, as many to each as can be (``comfy/samplers.py``).
    """
    counts = sorted(cost.count_cached(tokens, _other_tokens(cond, patch)) for cond in conds)
    return sum(counts[-math.ceil(len(counts) / devices) :])


def _other_tokens(cond: dict[str, Any], patch: tuple[int, int, int]) -> int:
    text = cond.get("cross_attn")
    return (0 if text is None else text.shape[1]) + count_tokens(cond.get("reference_latents"), patch)
