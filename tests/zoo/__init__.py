"""Small models of every family: the host's own classes with random weights, a module each."""

from __future__ import annotations

from . import flux, pixart
from .case import Case

CASES: dict[str, Case] = {**pixart.CASES, **flux.CASES}
