"""Clustering of tokens."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cat_core.algorithm import clustering
from cat_core.algorithm.clustering import ITERATIONS, Propagation, kmeans, token_features


def test_features_are_scaled_noise_and_place():
    features = token_features(torch.ones(2, 6, 4), (2, 3), position_weight=2.0)
    assert features.shape == (2, 6, 6)
    assert torch.allclose(features[0, 4], torch.tensor([0.05, 0.05, 0.05, 0.05, 2 * 0.5, 2 / 3]))


def test_well_separated_groups_are_found():
    group = torch.arange(60) % 3
    features = (group.unsqueeze(1) * 10.0 + torch.randn(60, 5, generator=torch.Generator().manual_seed(0)) * 0.1)[None]
    # a seed whose first centres lie in three groups: k-means finds the optimum from there
    seed = next(s for s in range(99) if len(set(group[_first(60, 3, s)].tolist())) == 3)
    labels = kmeans(features, 3, seed)[0]
    assert all(len(set(labels[group == g].tolist())) == 1 for g in range(3))
    assert len(set(labels.tolist())) == 3


def _first(tokens: int, clusters: int, seed: int) -> torch.Tensor:
    return torch.randperm(tokens, generator=torch.Generator().manual_seed(seed))[:clusters]


def test_a_sample_is_clustered_as_if_alone():
    features = torch.randn(3, 50, 6, generator=torch.Generator().manual_seed(1))
    together = kmeans(features, 7, seed=5)
    assert all(torch.equal(together[i], kmeans(features[i : i + 1], 7, seed=5)[0]) for i in range(3))


def test_more_iterations_lower_the_spread_about_the_centres_and_never_raise_it(monkeypatch):
    features = torch.randn(1, 200, 4, generator=torch.Generator().manual_seed(2))
    spreads = []
    for iterations in range(ITERATIONS + 1):
        monkeypatch.setattr(clustering, "ITERATIONS", iterations)
        spreads.append(_spread(features[0], kmeans(features, 5, seed=0)[0]))
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[ITERATIONS] < 0.9 * spreads[0]


def _spread(points: torch.Tensor, labels: torch.Tensor) -> float:
    groups = (points[labels == label] for label in labels.unique())
    return sum(float((group - group.mean(0)).square().sum()) for group in groups)


@settings(deadline=None, max_examples=50)
@given(tokens=st.integers(1, 40), clusters=st.integers(1, 60), seed=st.integers(0, 2**64 - 1))
def test_labels_are_in_range_whatever_the_numbers(tokens, clusters, seed):
    labels = kmeans(torch.zeros(2, tokens, 3), clusters, seed)
    assert labels.shape == (2, tokens)
    assert labels.min() >= 0
    assert labels.max() < min(clusters, tokens)


def test_propagation_is_the_mean_of_each_cluster_counting_one_that_stands_still():
    labels = torch.tensor([[0, 0, 0, 1, 1, 2], [2, 1, 0, 0, 0, 0]])
    selected = torch.tensor([[0, 1, 3], [0, 2, 3]])
    change = torch.tensor([[[3.0], [6.0], [8.0]], [[4.0], [3.0], [9.0]]])
    carried = Propagation(labels, 3, selected, 1.0)(change).squeeze(-1)
    assert carried.tolist() == [[3.0, 3.0, 3.0, 4.0, 4.0, 0.0], [2.0, 0.0, 4.0, 4.0, 4.0, 4.0]]
    assert torch.equal(Propagation(labels, 3, selected, 0.5)(change).squeeze(-1), carried / 2)


def test_propagation_keeps_the_precision():
    change = torch.ones(1, 2, 3, dtype=torch.bfloat16)
    carried = Propagation(torch.zeros(1, 4, dtype=torch.long), 1, torch.tensor([[0, 1]]), 1.0)(change)
    assert carried.dtype == torch.bfloat16
