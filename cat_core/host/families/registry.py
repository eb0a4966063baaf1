"""All families."""

from __future__ import annotations

import torch

from .family import Family
from .flux import Flux
from .pixart import PixArt
from .sd3 import SD3

FAMILIES: tuple[Family, ...] = (SD3(), PixArt(), Flux())


def find_family(transformer: torch.nn.Module) -> Family | None:
    """The family of a diffusion transformer, or None. A compiled module is looked into."""
    transformer = getattr(transformer, "_orig_mod", transformer)
    return next((family for family in FAMILIES if family.matches(transformer)), None)
