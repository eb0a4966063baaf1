"""Which image tokens the next step computes (arXiv 2502.00433, section 3.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from ..settings import CATSettings
from .clustering import Propagation, kmeans, membership, token_features

# The first three clusters get 3, 2 and 1 sixths of the clusters' share (section 3.3).
TOP_CLUSTER_WEIGHTS = (3, 2, 1)
# At the first selection no cluster takes more than this part of the computed tokens.
FIRST_SELECTION_CAP = 0.1


class LayoutError(ValueError):
    """Rows are not those of the tokens that they were taken for: something else was computed than was asked for."""


@dataclass(frozen=True)
class Selection:
    """Exactly k image tokens of every sample.

    Attributes:
        indices: [B, k] int64, every row sorted and without repeats.
        tokens: N, the number of image tokens they are chosen from.
    """

    indices: torch.Tensor
    tokens: int
    _rows: dict[tuple, torch.Tensor] = field(default_factory=dict, repr=False, compare=False)

    @property
    def count(self) -> int:
        """k, the number of selected tokens of a sample."""
        return self.indices.shape[1]

    def to(self, device: torch.device) -> Selection:
        """A copy on another device."""
        return Selection(self.indices.to(device), self.tokens)

    def mask(self) -> torch.Tensor:
        """[B, N, 1] bool, True for selected tokens."""
        mask = torch.zeros(len(self.indices), self.tokens, dtype=torch.bool, device=self.indices.device)
        return mask.scatter_(1, self.indices, True).unsqueeze(-1)

    def rows(self, length: int, first: int = 0) -> torch.Tensor:
        """Row numbers [B * k] of the selected tokens in a flattened [B * length, d] tensor.

        ``first`` rows lie before the image tokens of every sample.
        """
        if (length, first) not in self._rows:
            start = torch.arange(len(self.indices), device=self.indices.device).unsqueeze(1) * length + first
            self._rows[length, first] = (self.indices + start).flatten()
        return self._rows[length, first]

    def rows_with_others(self, length: int, first: int) -> torch.Tensor:
        """As :meth:`rows`, with the rows of a sample that are no image tokens: [B * (length - N + k)], in order."""
        key = length, first, "others"
        if key not in self._rows:
            samples, device = len(self.indices), self.indices.device
            every = torch.arange(length, device=device).expand(samples, -1)
            parts = every[:, :first], self.indices + first, every[:, first + self.tokens :]
            start = torch.arange(samples, device=device).unsqueeze(1) * length
            self._rows[key] = (torch.cat(parts, 1) + start).flatten()
        return self._rows[key]

    @classmethod
    def join(cls, selections: list[Selection]) -> Selection:
        """Of the samples of all ``selections``, one after another; they choose as many tokens from as many."""
        if len(selections) == 1:
            return selections[0]
        return cls(torch.cat([selection.indices for selection in selections]), selections[0].tokens)

    def gather(self, tokens: torch.Tensor) -> torch.Tensor:
        """[B, N, d] -> the selected tokens [B, k, d].

        Raises:
            LayoutError: there are not N tokens of B samples.
        """
        if tokens.shape[:2] != (len(self.indices), self.tokens):
            expected = f"{len(self.indices)} x {self.tokens} image tokens were expected"
            raise LayoutError(f"{' x '.join(map(str, tokens.shape[:2]))} rows where {expected}")
        rows = tokens.flatten(0, 1).index_select(0, self.rows(self.tokens))
        return rows.unflatten(0, self.indices.shape)

    def scatter(self, tokens: torch.Tensor) -> torch.Tensor:
        """Inverse of :meth:`gather`: [B, k, d] -> [B, N, d], zero for tokens that are not selected."""
        full = tokens.new_zeros(len(tokens) * self.tokens, tokens.shape[-1])
        full.index_copy_(0, self.rows(self.tokens), tokens.flatten(0, 1))
        return full.unflatten(0, (len(tokens), self.tokens))


class Selector:
    """Chooses tokens step after step for one latent shape; holds clusters and selection counts.

    Args:
        settings: keep ratio, clusters, cluster share, staleness decay, position weight, seed and focus mask are used.
        grid: (frames,) rows and columns of image tokens.
    """

    def __init__(self, settings: CATSettings, grid: tuple[int, ...]):
        self.settings, self.grid = settings, grid
        self.tokens = math.prod(grid)
        self.focus = focus_tokens(settings.focus_mask, grid)
        wanted = max(1, round(settings.keep_ratio * self.tokens))
        self.count = min(self.tokens, wanted if self.focus is None else max(wanted, int(self.focus.sum(1).max())))
        self.labels: torch.Tensor | None = None
        self.frequency: torch.Tensor | None = None

    def note_refresh(self) -> None:
        """All tokens were computed: none is stale any more."""
        self.frequency = None

    def select(self, noise: torch.Tensor, reference: torch.Tensor) -> Selection:
        """Choose k tokens of every sample.

        Args:
            noise: newest noise of all tokens, computed or forecast, of the conditional branch [B, N, d].
            reference: noise to measure change against [B, N, d].
        """
        first = self.labels is None
        if self.labels is None:
            features = token_features(noise, self.grid, self.settings.position_weight)
            self.labels = kmeans(features, self.settings.clusters, self.settings.seed)
            if self.focus is not None:
                samples = torch.arange(len(noise)) % len(self.focus)
                self.focus = self.focus[samples].to(noise.device)
        elif self.labels.device != noise.device:
            self._move(noise.device)
        if self.frequency is None:
            self.frequency = torch.zeros_like(noise[..., 0])
        priority = self._priority(noise - reference, self.labels, self.frequency, first)
        selection = Selection(priority.topk(self.count, sorted=False).indices.sort().values, self.tokens)
        self.frequency = self.frequency * self.settings.staleness_decay + selection.mask().squeeze(-1)
        return selection

    def _move(self, device: torch.device) -> None:
        """To where the newest noise is: conditionings may change their device."""
        self.labels, self.frequency, self.focus = (
            None if held is None else held.to(device) for held in (self.labels, self.frequency, self.focus)
        )

    def propagation(self, selection: Selection) -> Propagation | None:
        """Carries changes of the selected tokens to the others, None if the settings do not want it."""
        if self.settings.propagation == 0:
            return None
        assert self.labels is not None
        return Propagation(self.labels, self._cluster_count, selection.indices, self.settings.propagation)

    @property
    def _cluster_count(self) -> int:
        return min(self.settings.clusters, self.tokens)

    def _priority(self, change, labels, frequency, first: bool) -> torch.Tensor:
        """[B, N]: above 2 for tokens inside their cluster's quota, 0..1 by staleness for the others."""
        magnitude = change.norm(dim=-1)
        member = membership(labels, self._cluster_count, change.dtype)
        scores = cluster_scores(change, labels, member, self.grid, smooth=first)
        place = scores.argsort(descending=True).argsort()  # 0 for the cluster that changed most
        quota = cluster_quotas(place, self.count, self.settings.cluster_share, first).gather(1, labels)
        inside = rank_in_cluster(magnitude, labels, member) < quota
        largest = magnitude.amax(1, keepdim=True).clamp(min=1e-12)
        stale = (1 + 1e-3 * magnitude / largest) / (1 + frequency)
        top = 3 - place.gather(1, labels) / scores.shape[1]
        priority = torch.where(inside, top, stale)
        return priority if self.focus is None else priority + 4 * self.focus


def focus_tokens(mask: torch.Tensor | None, grid: tuple[int, ...]) -> torch.Tensor | None:
    """Mask [b, H, W] in 0..1 -> [b, N] bool: tokens of all frames that the mask covers anywhere by more than a half."""
    if mask is None:
        return None
    pixels = mask.reshape(-1, 1, *mask.shape[-2:]).float()
    covered = torch.nn.functional.adaptive_max_pool2d(pixels, grid[-2:]).flatten(1) > 0.5
    return covered.repeat(1, math.prod(grid[:-2]))


def cluster_scores(change, labels, member, grid: tuple[int, ...], smooth: bool) -> torch.Tensor:
    """How much each cluster changed [B, C]: the norm of its largest change per channel.

    Args:
        change: [B, N, d] · labels: [B, N] · member: one-hot labels [B, N, C].
        smooth: average each cluster's pooled change half and half with that of its neighbours on the grid.
    """
    shape = (len(change), member.shape[-1], change.shape[-1])
    index = labels.unsqueeze(-1).expand_as(change)
    pooled = change.new_zeros(shape).scatter_reduce_(1, index, change, "amax", include_self=False)
    if smooth:
        cells = member.unflatten(1, grid)
        neighbours = [
            (cells.narrow(axis, 0, length - 1).flatten(1, -2), cells.narrow(axis, 1, length - 1).flatten(1, -2))
            for axis, length in enumerate(grid, start=1)
        ]
        border = sum(one.mT @ other for one, other in neighbours)
        border = (border + border.mT) * (1 - torch.eye(border.shape[-1], device=border.device, dtype=border.dtype))
        around = border / border.sum(-1, keepdim=True).clamp(min=1) @ pooled
        pooled = (pooled + around) / 2
    return pooled.norm(dim=-1)


def cluster_quotas(place: torch.Tensor, count: int, share: float, first: bool) -> torch.Tensor:
    """Tokens that each cluster may claim [B, C], from its place [B, C] in the ranking (0 is the top cluster)."""
    if first:
        return torch.full_like(place, max(1, int(count * FIRST_SELECTION_CAP)))
    part = share * count / sum(TOP_CLUSTER_WEIGHTS)
    quota = torch.zeros_like(place)
    for rank, weight in enumerate(TOP_CLUSTER_WEIGHTS):
        quota = torch.where(place == rank, int(weight * part), quota)
    return quota


def rank_in_cluster(magnitude, labels, member) -> torch.Tensor:
    """Rank [B, N] of every token inside its cluster, 0 for the largest ``magnitude`` [B, N]."""
    by_size = magnitude.argsort(dim=1, descending=True, stable=True)
    order = by_size.gather(1, labels.gather(1, by_size).argsort(dim=1, stable=True))
    sizes = member.sum(1).long()
    start = (sizes.cumsum(1) - sizes).gather(1, labels.gather(1, order))
    rank = torch.arange(labels.shape[1], device=labels.device) - start
    return torch.zeros_like(rank).scatter_(1, order, rank)
