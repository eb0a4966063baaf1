"""What the pruner needs to know of an architecture."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection


class Family(Protocol):
    """One architecture: where its tokens, control residuals and costs are. Stateless."""

    name: str
    """As people know it, for report and log."""

    patch_size: int
    """Latent pixels along the side of an image token."""

    def matches(self, transformer: torch.nn.Module) -> bool:
        """Whether ``transformer`` is exactly an architecture that this family knows."""
        ...

    def cost(self, transformer: Any) -> ModelCost:
        """MACs per token, read from the model's own layers."""
        ...

    def foreign_hooks(self, options: dict[str, Any]) -> str | None:
        """Which of another node's hooks in ``transformer_options`` cannot work on pruned tokens, or None."""
        ...

    def prune(self, transformer: Any, options: dict[str, Any], control: Any, selection: Selection) -> tuple[dict, Any]:
        """Return ``transformer_options`` and ``control`` for a call that gathers before the first block and scatters
        after the last. The arguments are not changed."""
        ...
