"""Architectures that can be pruned: one file each, listed here. See :class:`cat_core.host.families.family.Family`."""

from .registry import find_family

__all__ = ["find_family"]
