"""What the pruner needs to know of an architecture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch

from ...algorithm.macs import ModelCost
from ...algorithm.selection import Selection
from ..attention import CapturingAttention, PrunedAttention

OVERRIDE = "optimized_attention_override"


class Family(ABC):
    """One architecture: where its tokens, attention, control residuals and costs are. Stateless.

    A family file says what :meth:`prune` needs to gather the selected tokens before the first block and to scatter them
    after the last; the helpers are in :mod:`cat_core.host.families.hooks`.
    """

    name: ClassVar[str]
    """As people know it, for report and log."""

    classes: ClassVar[tuple[tuple[str, str], ...]]
    """(module, class name) of the transformers that this family knows; no subclass is taken for its parent."""

    preset: ClassVar[str] = "balanced"
    """Name of the preset for it: quality, which keeps no keys and values, where these would take tens of GiB."""

    compilable: ClassVar[bool] = True
    """Whether everything goes through ``transformer_options``: hooks of modules are not seen by compiled code."""

    def matches(self, transformer: torch.nn.Module) -> bool:
        """Whether ``transformer`` is exactly an architecture that this family knows."""
        kind = type(transformer)
        return (kind.__module__, kind.__name__) in self.classes

    @abstractmethod
    def patch(self, transformer: Any) -> tuple[int, int, int]:
        """Latent frames, rows and columns of an image token."""

    @abstractmethod
    def cost(self, transformer: Any) -> ModelCost:
        """MACs per token, read from the model's own layers."""

    def refuses(self, transformer: Any, extra: dict[str, Any], options: dict[str, Any]) -> str | None:
        """What about this call cannot work on pruned tokens, or None.

        Args:
            extra: further arguments of the model call (``comfy/model_base.py: _apply_model``), and its ``control``.
            options: ``transformer_options``.
        """
        replaced = options.get("patches_replace", {}).get("dit", {})
        return "another node replaces transformer blocks" if replaced else None

    def other_tokens(self, transformer: Any, text: int, extra: dict[str, Any]) -> int:
        """How many tokens that are not pruned go through the blocks: ``text`` and, for some, reference latents."""
        return text

    def attends_to_image(self, transformer: Any, number: int) -> bool:
        """Whether the n-th attention of a call, from 0, is one of all image tokens to each other in a block.

        Others are cross-attention and refiners, which run before the blocks.
        """
        return True

    @contextmanager
    def attending(
        self, transformer: Any, options: dict[str, Any], attention: CapturingAttention | PrunedAttention
    ) -> Iterator[dict[str, Any]]:
        """``transformer_options`` with which all attention of the model goes through ``attention``."""
        yield {**options, OVERRIDE: attention}

    @abstractmethod
    def prune(
        self,
        transformer: Any,
        options: dict[str, Any],
        control: Any,
        selection: Selection,
        attention: PrunedAttention,
    ) -> Any:
        """Context of a call that computes the selected tokens only: ``transformer_options`` and ``control`` for it.

        Args:
            transformer: the diffusion transformer.
            options, control: as the host gives them; they are not changed.
            selection: for the whole batch of the call.
            attention: what answers the call's attention; its ``after`` may be set.
        """
