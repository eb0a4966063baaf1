"""One model call of the host's sampler, and which conditionings it is for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

THREAD_DEVICE = "multigpu_thread_device"
"""The host's option of a call that is one of several devices'."""

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
    further: tuple[Any, ...] = ()
    """Arguments that the host of today does not give."""
    keys: list[Key] = field(init=False)

    def __post_init__(self) -> None:
        uuids, conds = self.options.get("uuids", []), self.options.get("cond_or_uncond", [])
        # other nodes may hand on a part of a call and leave its description as it was
        known = len(uuids) == len(conds) > 0 and len(self.x) % len(conds) == 0
        shape = len(self.x) // max(len(conds), 1), *self.x.shape[1:]
        self.keys = [(uuid, cond, shape) for uuid, cond in zip(uuids, conds, strict=False)] if known else []

    def run(self, options: dict[str, Any] | None = None, control: Any = None) -> torch.Tensor:
        """Call the model, by default exactly as the host would. It may be called more than once."""
        if options is None:
            options, control = self.options, self.control
        if control is not None:
            # some models take residuals out of the lists
            control = {kind: list(parts) for kind, parts in control.items()}
        return self.execute(
            self.x, self.timestep, self.concat, self.context, control, options, *self.further, **self.extra
        )

    def split(self, *batches: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
        """Every batch cut into the call's conditionings."""
        return [batch.chunk(len(self.keys)) for batch in batches]

    @property
    def model(self) -> Any:
        """The host's ``BaseModel`` that is called."""
        return self.execute.class_obj  # type: ignore[attr-defined]

    @property
    def weights(self) -> Any:
        """Equal for a model and its copies on other devices (``comfy/model_patcher.py: deepclone_multigpu``)."""
        return getattr(self.model.current_patcher, "clone_base_uuid", self.model)

    @property
    def device(self) -> torch.device:
        """Where it is evaluated; the host names it where several share a run (``comfy/samplers.py``)."""
        return self.options.get(THREAD_DEVICE, self.x.device)

    @property
    def transformer(self) -> torch.nn.Module:
        """Its diffusion transformer, as it is without being compiled."""
        return unwrap_compiled(self.model.diffusion_model)

    @property
    def context_shape(self) -> tuple[int, ...] | None:
        return None if self.context is None else tuple(self.context.shape[1:])

    @property
    def blocks(self) -> frozenset:
        """Which transformer blocks other nodes replace in this call."""
        return frozenset(self.options.get("patches_replace", {}).get("dit", {}))

    @property
    def layout(self) -> tuple:
        """What decides where rows are: equal for calls whose tokens are gathered alike."""
        extra = sorted((name, _shape(value)) for name, value in self.extra.items() if value is not None)
        control = tuple((kind, len(parts)) for kind, parts in sorted((self.control or {}).items()))
        return self.model, tuple(self.keys), self.context_shape, tuple(extra), control


def _shape(value: Any) -> tuple | None:
    if isinstance(value, list | tuple):
        return tuple(map(_shape, value))
    return tuple(value.shape) if torch.is_tensor(value) else None


def unwrap_compiled(module: torch.nn.Module) -> torch.nn.Module:
    """The module that ``torch.compile`` was given, or the module itself."""
    return getattr(module, "_orig_mod", module)


Area = tuple[int, ...]
"""Sizes, then offsets, of a part of the latent, in latent (frames,) rows and columns."""
Group = tuple[tuple[int, ...], Area | None]
"""Conditionings of one latent shape and area: they choose tokens together."""


class Listed(NamedTuple):
    """How a guider has a conditioning.

    Attributes:
        name: of the list that it is in.
        place: in that list.
        area: the part of the latent it is for, None for the whole.
    """

    name: str | None = None
    place: int = 0
    area: Area | None = None


def find_listed(guider: Any, uuid: Any) -> Listed:
    """Of ``guider.conds``, which are the host's, areas resolved (``comfy/samplers.py: process_conds``)."""
    for name, conds in guider.conds.items():
        for place, cond in enumerate(conds):
            if cond.get("uuid") == uuid:
                return Listed(name, place, tuple(cond["area"]) if "area" in cond else None)
    return Listed()
