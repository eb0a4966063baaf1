"""Small models of every family: the host's own classes with random weights, a module each."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from .case import Case


def _find_cases() -> dict[str, Case]:
    """Of every module here that has any."""
    names = (found.name for found in iter_modules(__path__) if found.name != "future")  # it needs all others
    modules = (import_module(f"{__name__}.{name}") for name in names)
    return {name: case for module in modules for name, case in getattr(module, "CASES", {}).items()}


CASES = _find_cases()
