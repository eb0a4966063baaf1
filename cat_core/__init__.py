"""The engine of CAT Pruning: ``algorithm`` and ``caching`` need torch only, ``host`` needs ComfyUI."""
