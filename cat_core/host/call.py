"""One model call of the host's sampler, and which conditionings it is for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

# A conditioning in a run: its uuid, whether it is the conditional (0) or another one, and its latent's shape.
Key = tuple[Any, int, tuple[int, ...]]


@dataclass
class ModelCall:
    """The host's arguments of one model call (``comfy/model_base.py: BaseModel.apply_model``) and its conditionings."""

    execute: Callable[..., torch.Tensor]
    x: torch.Tensor
    timestep: torch.Tensor
    concat: Any
    context: torch.Tensor | None
    control: Any
    options: dict[str, Any]
    extra: dict[str, Any]
    keys: list[Key] = field(init=False)

    def __post_init__(self) -> None:
        uuids, conds = self.options.get("uuids", []), self.options.get("cond_or_uncond", [])
        samples = len(self.x) // max(len(uuids), 1)
        self.keys = [(uuid, cond, (samples, *self.x.shape[1:])) for uuid, cond in zip(uuids, conds, strict=True)]

    def run(self, options: dict[str, Any] | None = None, control: Any = None) -> torch.Tensor:
        """Call the model, by default exactly as the host would."""
        if options is None:
            options, control = self.options, self.control
        return self.execute(self.x, self.timestep, self.concat, self.context, control, options, **self.extra)

    @property
    def model(self) -> Any:
        """The host's ``BaseModel`` that is called."""
        return self.execute.class_obj  # type: ignore[attr-defined]

    @property
    def context_shape(self) -> tuple[int, ...] | None:
        return None if self.context is None else tuple(self.context.shape[1:])


Area = tuple[int, ...]
"""Sizes, then offsets, of a part of the latent, in latent (frames,) rows and columns."""


def described(guider: Any, uuid: Any) -> tuple[str | None, Area | None]:
    """Name that a guider gives the list of a conditioning, and the part of the latent it is for, None for the whole.

    ``guider.conds`` is the host's, areas resolved (``comfy/samplers.py: process_conds``).
    """
    for name, conds in guider.conds.items():
        for cond in conds:
            if cond.get("uuid") == uuid:
                return name, tuple(cond["area"]) if "area" in cond else None
    return None, None
