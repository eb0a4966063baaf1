"""What a family is: its layout and costs, the engine that reads them, and the registry.

What another pack needs to bring a family of its own is here, see :func:`register_family`.
"""

from .costs import linear_macs, model_cost, parts_macs
from .family import Family
from .layout import Blocks, Layout, Rest
from .registry import find_family, register_family
from .rows import gather_rows

__all__ = [
    "Blocks",
    "Family",
    "Layout",
    "Rest",
    "find_family",
    "gather_rows",
    "linear_macs",
    "model_cost",
    "parts_macs",
    "register_family",
]
