"""Clusters of image tokens that look alike and lie together (arXiv 2502.00433, section 3.2)."""

from __future__ import annotations

from copy import copy

import torch

NOISE_SCALE = 0.05
ITERATIONS = 8


def token_features(noise: torch.Tensor, grid: tuple[int, ...], position_weight: float) -> torch.Tensor:
    """Noise tokens [B, N, d] of a ((frames,) rows, columns) grid -> features [B, N, d + 2 or 3]: scaled noise, place.

    Frame, row and column run over 0..1, so that clusters become connected regions whatever the resolution.
    """
    sides = [torch.arange(length, device=noise.device) / length for length in grid]
    place = torch.cartesian_prod(*sides).to(noise.dtype) * position_weight
    return torch.cat((noise * NOISE_SCALE, place.expand(noise.shape[0], -1, -1)), dim=-1)


def kmeans(features: torch.Tensor, clusters: int, seed: int) -> torch.Tensor:
    """Batched k-means with a fixed number of iterations: features [B, N, f] -> cluster numbers [B, N] (int64).

    The first centres are ``clusters`` different tokens chosen by ``seed``, the same for every sample. An empty cluster
    keeps its centre. Everything is matrix products and an argmin on the tensors' device: no host read, and the same
    result for the same input. With fewer tokens than clusters, every token is its own cluster.
    """
    tokens = features.shape[1]
    clusters = min(clusters, tokens)
    start = torch.randperm(tokens, generator=torch.Generator().manual_seed(seed % 2**63))[:clusters]
    centres = features[:, start.to(features.device)]
    labels = _nearest(features, centres)
    for _ in range(ITERATIONS):
        member = membership(labels, clusters, features.dtype)
        size = member.sum(1).unsqueeze(-1)
        mean = member.mT @ features / size.clamp(min=1)
        centres = torch.where(size > 0, mean, centres)
        labels = _nearest(features, centres)
    return labels


def _nearest(features: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    # ||x - c||^2 = ||x||^2 - 2 x.c + ||c||^2, and ||x||^2 does not change which centre is nearest
    return (centres.square().sum(-1).unsqueeze(1) - 2 * features @ centres.mT).argmin(-1)


class Propagation:
    """Carries the change of selected tokens to the other tokens of their cluster, as the mean over the cluster.

    One more token without change counts in every mean: a cluster with few selected tokens moves less, and one with none
    not at all.

    Args:
        labels: cluster numbers [B, N].
        clusters: C.
        selected: indices [B, k] of the selected tokens.
        share: of the mean that is carried over, 0..1.
    """

    def __init__(self, labels: torch.Tensor, clusters: int, selected: torch.Tensor, share: float):
        self.member = membership(labels, clusters, torch.float32)
        self.selected = membership(labels.gather(1, selected), clusters, torch.float32)
        # scaled before they are summed up: a sum over thousands of tokens is beyond what float16 holds
        self.selected *= share / (1 + self.selected.sum(1, keepdim=True))

    def to(self, device: torch.device) -> Propagation:
        """A copy on another device."""
        there = copy(self)
        there.member, there.selected = self.member.to(device), self.selected.to(device)
        return there

    def __call__(self, change: torch.Tensor) -> torch.Tensor:
        """Change [B, k, d] of the selected tokens -> what every token's cluster changed by [B, N, d]."""
        mean = self.selected.mT.to(change.dtype) @ change
        return self.member.to(change.dtype) @ mean


def membership(labels: torch.Tensor, clusters: int, dtype: torch.dtype) -> torch.Tensor:
    """Cluster numbers [B, N] -> one-hot [B, N, clusters] (torch's own one_hot reads the labels on the host)."""
    return (labels.unsqueeze(-1) == torch.arange(clusters, device=labels.device)).to(dtype)
