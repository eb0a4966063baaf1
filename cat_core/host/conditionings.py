"""What a run knows of every conditioning."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..algorithm.branch import Branch
from ..caching.kv import KVCache
from ..settings import CATSettings
from .call import Group, Key, ModelCall, find_listed
from .plan import Choice, Plan
from .tokens import TokenGrid, find_grid


@dataclass
class Conditioning:
    """One conditioning: what is remembered of its answers, and how it was called.

    Where several devices share a run, it may come to another one at every evaluation. What is remembered of its answers
    is a few latents, and goes along; keys and values are hundreds, and stay.
    """

    grid: TokenGrid
    kv: KVCache
    device: torch.device
    """Where the latest full step was evaluated: keys and values are of there."""
    branches: list[Branch]
    """Of its image tokens, and of what else is packed into its latent."""
    group: Group
    positive: bool
    order: tuple[int, int, int]
    """Decides between equals, the greatest leads: who began earlier, of the guider's first answer, there the last
    of its list."""
    weights: Any = None
    """Of the model that answered at the latest full step."""
    context_shape: tuple[int, ...] | None = None
    blocks: frozenset = frozenset()
    """Transformer blocks that another node replaced at the latest full step."""
    computed_at: int = 0
    """The latest full step."""
    called_at: int = 0
    """The latest step that had it."""

    def answer_full(self, call: ModelCall, x: torch.Tensor, new: torch.Tensor, plan: Plan) -> torch.Tensor:
        """Take over its part of a call's latents and answers [B, C, ...]; return what the sampler is to be given."""
        self._follow(x.device)
        self.weights, self.context_shape, self.blocks = call.weights, call.context_shape, call.blocks
        self.computed_at = plan.step.number
        denoised = self.grid.split(new)
        parts = zip(self.branches, self.grid.split(x), denoised, strict=True)
        given = [branch.answer_full(old, one, plan.sigma, plan.after) for branch, old, one in parts]
        same = all(one is other for one, other in zip(given, denoised, strict=True))
        return new if same else self.grid.join(given)

    def answer_pruned(self, x: torch.Tensor, new: torch.Tensor, plan: Plan, chosen: Choice) -> torch.Tensor:
        """As :meth:`answer_full` where the model computed chosen tokens alone, and all that is no image token."""
        self._follow(x.device)
        levels = plan.sigma, plan.after
        (_, tokens, computed), *others = zip(self.branches, self.grid.split(x), self.grid.split(new), strict=True)
        given = [self.branch.answer_pruned(tokens, computed, *levels, chosen.selection, chosen.propagation)]
        given += [branch.answer_full(old, one, *levels) for branch, old, one in others]
        return self.grid.join(given)

    def answer_idle(self, x: torch.Tensor, plan: Plan) -> torch.Tensor:
        """What the sampler is to be given for its part of a call's latents, without the model."""
        self._follow(x.device)
        parts = zip(self.branches, self.grid.split(x), strict=True)
        return self.grid.join([branch.answer_idle(part, plan.sigma, plan.after) for branch, part in parts])

    def _follow(self, device: torch.device) -> None:
        for branch in self.branches:
            branch.move(device)

    @property
    def branch(self) -> Branch:
        """Of its image tokens."""
        return self.branches[0]

    @property
    def bytes(self) -> int:
        """Memory held."""
        return self.kv.bytes + sum(branch.bytes for branch in self.branches)


class Conditionings(dict[Key, Conditioning]):
    """All conditionings of a run by their keys.

    Args:
        settings: the knobs.
        patch: latent frames, rows and columns of an image token; None where tokens are values of the latent.
        guider: the host's guider, which knows the conditionings.
        packed: [B, C, ...] of every latent that the run's is packed of.

    Attributes:
        lock: they may be evaluated in threads. What these share is looked at and changed by one at a time.
    """

    def __init__(
        self,
        settings: CATSettings,
        patch: tuple[int, int, int] | None,
        guider: Any,
        packed: Sequence[tuple[int, ...]] = (),
    ):
        super().__init__()
        self.settings, self.patch, self.guider, self.packed = settings, patch, guider, packed
        self.lock = threading.RLock()

    @property
    def bytes(self) -> int:
        """Memory held."""
        return sum(one.bytes for one in self.values())

    def members(self, group: Group) -> list[Conditioning]:
        """All of a group."""
        return [one for one in self.values() if one.group == group]

    def hold_caches(self, group: Group) -> bool:
        """Whether any keys and values of a group are held."""
        return any(one.kv.layers for one in self.members(group))

    def grid(self, shape: Sequence[int]) -> TokenGrid:
        """The grid of a latent [B, C, ...]."""
        return find_grid(tuple(shape[2:]), self.patch, self.packed)

    def add(self, key: Key, cache: KVCache, device: torch.device, step: int) -> Conditioning:
        """Begin to remember a conditioning that is called at ``step`` first."""
        name, place, area = find_listed(self.guider, key[0])
        positive = key[1] == 0 if name is None else name == "positive"
        grid = self.grid(key[2])
        branches = [Branch(self.settings) for _ in range(grid.parts)]
        # the host may give a conditioning's uuid to a negative one too, for an area that has none
        order = -step, -key[1], place
        self[key] = Conditioning(grid, cache, device, branches, (key[2], area), positive, order, called_at=step)
        return self[key]

    def lead(self, group: Group, step: int) -> Conditioning:
        """Who chooses a group's tokens: a positive conditioning, but none that ended before the last step.

        Of equals the greatest in order, whichever thread came first.
        """
        rank = lambda one: (one.called_at >= step - 1, one.positive, one.called_at, one.order)  # noqa: E731
        return max(self.members(group), key=rank)
