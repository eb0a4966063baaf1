"""Settings that are chosen when a run starts, by what is known of it then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from comfy.model_patcher import ModelPatcher

from ..settings import CATSettings
from .architecture import Family
from .call import unwrap_compiled
from .known import TRANSFORMER
from .samplers import name_sampler
from .tokens import TokenGrid


@dataclass(frozen=True)
class Occasion:
    """A run that starts.

    Attributes:
        model: that is sampled from.
        family: its architecture, or None where it is not known.
        sampler: the host's.
        sigmas: the run's noise levels, one more than steps.
        noise_shape: [B, C, ...] of the whole latent.
        guided: whether more than one prompt makes the answer.
    """

    model: ModelPatcher
    family: Family | None
    sampler: Any
    sigmas: list[float]
    noise_shape: tuple[int, ...]
    guided: bool

    @property
    def sampler_name(self) -> str:
        """As in the host's lists, with the options that are not its own."""
        return name_sampler(self.sampler)

    @property
    def steps(self) -> int:
        """Of this run."""
        return len(self.sigmas) - 1

    @property
    def tokens(self) -> int:
        """Of one picture or video; places of its latent where the family is not known."""
        transformer = unwrap_compiled(self.model.get_model_object(TRANSFORMER))
        patch = self.family.patch(transformer) if self.family else None
        return TokenGrid(self.noise_shape[2:], patch).tokens


@dataclass(frozen=True)
class Choice:
    """Settings for one run.

    Attributes:
        settings: None for those of the preset that the model's family names.
        measured: whether they were measured with this very sampler and number of steps. What samplers of its kind bear
            bounds all others: a rule for what nobody looked at, and no better than having looked.
        notes: to be told of it.
    """

    settings: CATSettings | None = None
    measured: bool = False
    notes: tuple[str, ...] = ()


Chooser = Callable[[Occasion], Choice]
