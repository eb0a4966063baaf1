"""Where an architecture has its image tokens: what a family states and :mod:`.engine` reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from operator import attrgetter
from typing import Any

import torch

from ...algorithm.selection import Selection

Argument = str | int
"""Of a block: by its name, or by its place where the host gives it by place."""

Gather = Callable[[Any, Selection], Any]
"""What an argument is for selected tokens, where it is no tensor with one row for each."""


class Rest(Enum):
    """Where rows that are no image tokens stand in the argument that holds the image."""

    NOWHERE = "there are none"
    IN_FRONT = "in front of the image"
    BEHIND = "behind the image"


@dataclass(frozen=True)
class Blocks:
    """Blocks of one kind, in the order they run.

    Attributes:
        path: attribute of the transformer, or of a part of it (``"part.layers"``), that holds them.
        slot: their kind among the host's block replace slots, say ``"double_block"``; None where they have none.
        joined: whether the image's argument holds the text too, in front of the image.
    """

    path: str
    slot: str | None = None
    joined: bool = False


@dataclass(frozen=True)
class Block:
    """One block: its module, its name (path and number), and its slot, None without."""

    module: torch.nn.Module
    name: tuple[str, int]
    slot: tuple[str, int] | None


@dataclass(frozen=True)
class Layout:
    """Which rows of which arguments of an architecture's blocks are image tokens.

    Attributes:
        blocks: all blocks that image tokens go through, in the order they run.
        image: argument of a block that holds the image: [B, rows, d], or [B, frames, rows, columns, d].
        stream: where the image is in that argument if it holds several tensors, say a video and its sound; None if not.
        text: argument whose rows stand in front of the image's in attention, None if none do.
        rest: where rows that are no image tokens stand in the image's argument of the first block.
        multiple: attribute of the transformer, to a multiple of which the image is padded behind; None if it is not.
        per_token: arguments that have a row for every row of a sequence, with the dimension of these, or with what
            gathers those of the selected tokens.
        attention: numbers of the attentions of a block whose keys are image tokens, None for all.
        computes: modules of a block that compute attention where the host lets nobody override it: their path in the
            block, and what computes in their place, given the module, the override and the module's arguments.
        end: module in front of which tokens are put back to their places, None for behind the last block.
        controls: kinds of a ControlNet's residuals, with the path of the blocks behind which they are added, None for
            elsewhere.
    """

    blocks: tuple[Blocks, ...]
    image: Argument = "img"
    stream: int | None = None
    text: Argument | None = None
    rest: Rest = Rest.NOWHERE
    multiple: str | None = None
    per_token: Mapping[Argument, int | Gather] = field(default_factory=dict)
    attention: tuple[int, ...] | None = None
    computes: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    end: str | None = None
    controls: Mapping[str, str | None] = field(default_factory=dict)

    def take_image(self, value: Any) -> torch.Tensor:
        """The image, of the argument that holds it or of what a block answers."""
        return value if self.stream is None else value[self.stream]

    def put_image(self, value: Any, image: torch.Tensor) -> Any:
        """The same with another image."""
        if self.stream is None:
            return image
        return (*value[: self.stream], image, *value[self.stream + 1 :])

    def list_blocks(self, transformer: torch.nn.Module) -> list[Block]:
        """All blocks of a transformer in the order they run."""
        return [
            Block(module, (kind.path, number), (kind.slot, number) if kind.slot else None)
            for kind in self.blocks
            for number, module in enumerate(attrgetter(kind.path)(transformer))
        ]

    def count_pads(self, transformer: torch.nn.Module, tokens: int) -> int:
        """How many rows pad ``tokens`` image tokens behind."""
        return -tokens % (getattr(transformer, self.multiple) or 1) if self.multiple else 0
