"""All families: those of the pack's files, and those that other packs register."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import torch

from .. import families
from .family import Family


def _find_own() -> list[Family]:
    """One of every family that a file of ``families`` defines."""
    modules = [import_module(f"{families.__name__}.{found.name}") for found in iter_modules(families.__path__)]
    return [
        kind()
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Family) and kind.__module__ == module.__name__
    ]


FAMILIES: list[Family] = _find_own()


def find_family(transformer: torch.nn.Module) -> Family | None:
    """The family of a diffusion transformer, or None. A compiled module is looked into."""
    transformer = getattr(transformer, "_orig_mod", transformer)
    return next((family for family in FAMILIES if family.matches(transformer)), None)


def register_family(family: Family) -> None:
    """Let this pack serve an architecture that it does not know. Registering the same class again replaces it.

    From a pack of one's own, once all packs are loaded::

        from nodes import NODE_CLASS_MAPPINGS

        cat = NODE_CLASS_MAPPINGS["CATPruning"].architecture


        class Mine(cat.Family):
            name = "Mine"
            classes = (("my_pack.model", "MyTransformer"),)
            layout = cat.Layout(blocks=(cat.Blocks("blocks", "double_block"),), text="txt")

            def cost(self, transformer):
                return cat.model_cost(transformer, image=cat.parts_macs(transformer.blocks, "img_mlp"))


        cat.register_family(Mine())

    Raises:
        ValueError: one of its classes is served already, by a family of another name.
    """
    for known in FAMILIES:
        if known.name != family.name and (both := set(known.classes) & set(family.classes)):
            raise ValueError(f"{'.'.join(sorted(both)[0])} is served already, by {known.name}.")
    FAMILIES[:] = [family, *(known for known in FAMILIES if known.name != family.name)]
