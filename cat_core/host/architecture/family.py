"""What the pruner needs to know of an architecture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from ...algorithm.macs import ModelCost
from ..tokens import count_tokens
from .layout import Layout

REFERENCE_METHODS = {"index", "negative_index", "offset", "uxo", None}
"""Where reference latents are placed, of ways that treat their tokens as the image's otherwise."""
SHARING = "torch.distributed.fsdp.FSDPModule"
"""What torch puts before the class of a module whose weights it shares out."""


class Family(ABC):
    """One architecture: where its image tokens are, and what they cost. Stateless.

    A family file states its layout and its costs; what is computed from them is in
    :mod:`cat_core.host.architecture.engine`.
    """

    name: ClassVar[str]
    """As people know it, for report and log."""

    classes: ClassVar[tuple[tuple[str, str], ...]]
    """(module, class name) of the transformers that this family knows; no subclass is taken for its parent."""

    layout: ClassVar[Layout]
    """Where its image tokens are."""

    preset: ClassVar[str] = "balanced"
    """Name of the preset for it: quality, which keeps no keys and values, where these would take tens of GiB."""

    arguments: ClassVar[frozenset[str]] = frozenset()
    """Names of a call's further arguments (``comfy/model_base.py: extra_conds``) that leave tokens where they are."""

    patches: ClassVar[frozenset[str]] = frozenset()
    """Kinds of other nodes' patches (``transformer_options["patches"]``) that work on any part of the tokens."""

    references: ClassVar[bool] = False
    """Whether tokens of reference latents go through the blocks beside the image's."""

    def matches(self, transformer: Any) -> bool:
        """Whether ``transformer`` is exactly an architecture that this family knows."""
        kind = _unsharded(type(transformer))
        return (kind.__module__, kind.__name__) in self.classes

    def find_layout(self, transformer: Any) -> Layout:
        """The layout of this transformer; others than :attr:`layout` where hosts differ, told by the model alone."""
        return self.layout

    def patch(self, transformer: Any) -> tuple[int, int, int]:
        """Latent frames, rows and columns of an image token."""
        size = transformer.patch_size
        *frames, rows, columns = (size, size) if isinstance(size, int) else size
        return frames[0] if frames else 1, rows, columns

    @abstractmethod
    def cost(self, transformer: Any) -> ModelCost:
        """MACs per token, read from the model's own layers."""

    def refuses(self, transformer: Any, extra: dict[str, Any]) -> str | None:
        """What about the values of this call's known ``arguments`` cannot work on pruned tokens, or None.

        Args:
            extra: further arguments of the model call (``comfy/model_base.py: _apply_model``).
        """
        method = extra.get("ref_latents_method", self.reference_method(transformer))
        if not self.references or not extra.get("ref_latents") or method in REFERENCE_METHODS:
            return None
        return f"reference latents by the method {method}"

    def reference_method(self, transformer: Any) -> str | None:
        """How the model places reference latents where a call does not say."""
        return None

    def other_tokens(self, transformer: Any, text: int, extra: dict[str, Any]) -> int:
        """How many tokens that are not pruned go through the blocks: ``text`` and, for some, reference latents."""
        return text + (count_tokens(extra.get("ref_latents"), self.patch(transformer)) if self.references else 0)

    def beside(self, transformer: Any, tokens: int, extra: dict[str, Any]) -> int:
        """How many rows stand beside the image's ``tokens`` and are computed as these are, but never pruned."""
        return self.find_layout(transformer).count_pads(transformer, tokens)

    def companions(self, transformer: Any, extra: dict[str, Any]) -> int:
        """How many tokens of another latent go along, say of a video's sound; they are always computed."""
        return 0


def _unsharded(kind: type) -> type:
    """The class that torch made this one of to share out its weights, or the class itself.

    It is named ``FSDP`` and that class's name (``torch.distributed.fsdp.fully_shard``). Any other subclass stays what
    it is: it may compute anything.
    """
    if [f"{base.__module__}.{base.__name__}" for base in kind.__bases__[:-1]] != [SHARING]:
        return kind
    shared = kind.__bases__[-1]
    return shared if kind.__name__ == f"FSDP{shared.__name__}" else kind
