"""The engine of CAT Pruning: ``algorithm`` and ``caching`` need torch only, ``host`` needs ComfyUI."""

__version__ = "0.2.0"
