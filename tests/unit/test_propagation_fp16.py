"""What is carried to a cluster's other tokens in the precision of older GPUs: finite, and the mean."""

import pytest
import torch

from cat_core.algorithm.clustering import Propagation


def carried(change, clusters, dtype, tokens=4096):
    """Of ``change`` [1, k, d], in every token of evenly filled clusters."""
    draw = torch.Generator().manual_seed(3)
    labels = torch.arange(tokens).remainder(clusters)[torch.randperm(tokens, generator=draw)].unsqueeze(0)
    selected = torch.randperm(tokens, generator=draw)[: change.shape[1]].unsqueeze(0)
    return Propagation(labels, clusters, selected, 1.0)(change.to(dtype)), labels, selected


@pytest.mark.parametrize("clusters", [1, 20])
@pytest.mark.parametrize("size", [25.0, 450.0])
def test_a_large_change_of_many_tokens_is_no_overflow(clusters, size):
    """Their sum is beyond float16, whose largest number is 65504; their mean is not."""
    change = torch.full((1, 3072, 8), size)
    assert (change.sum(1) > 65504).all()
    half, _, _ = carried(change, clusters, torch.float16)
    exact, _, _ = carried(change, clusters, torch.float64)
    assert half.isfinite().all()
    assert half.double().sub(exact).abs().max() < 0.01 * size


@pytest.mark.parametrize("clusters", [1, 20])
def test_changes_of_either_sign_are_near_the_mean_in_double_precision(clusters):
    change = 25 * torch.randn(1, 3072, 8, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    half, labels, selected = carried(change, clusters, torch.float16)
    for cluster in range(clusters):
        known = labels[0, selected[0]] == cluster
        mean = change[0, known].sum(0) / (1 + known.sum())
        assert half[0, labels[0] == cluster].double().sub(mean).abs().max() < 0.1
