"""Which tokens are chosen."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cat_core.algorithm.selection import (
    Selection,
    Selector,
    cluster_quotas,
    cluster_scores,
    focus_tokens,
    rank_in_cluster,
)
from cat_core.settings import CATSettings


def noise(batch: int, tokens: int, seed: int = 0, width: int = 8) -> torch.Tensor:
    return torch.randn(batch, tokens, width, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=200)
@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    batch=st.integers(1, 3),
    keep=st.floats(0.01, 1.0),
    clusters=st.integers(1, 40),
    share=st.floats(0, 1),
    flat=st.booleans(),
)
def test_every_selection_has_exactly_k_sorted_different_tokens(rows, columns, batch, keep, clusters, share, flat):
    tokens = rows * columns
    selector = Selector(CATSettings(keep_ratio=keep, clusters=clusters, cluster_share=share), (rows, columns))
    for step in range(3):
        new = torch.zeros(batch, tokens, 4) if flat else noise(batch, tokens, step, 4)
        chosen = selector.select(new, torch.zeros_like(new)).indices
        assert chosen.shape == (batch, max(1, round(keep * tokens)))
        assert (chosen.diff(dim=1) > 0).all()
        assert chosen.min() >= 0
        assert chosen.max() < tokens


def test_a_sample_of_a_batch_is_selected_as_if_alone():
    new, old = noise(3, 64, 1), noise(3, 64, 2)
    together = Selector(CATSettings(), (8, 8))
    alone = [Selector(CATSettings(), (8, 8)) for _ in range(3)]
    for _ in range(3):
        rows = together.select(new, old).indices
        for i, selector in enumerate(alone):
            assert torch.equal(rows[i], selector.select(new[i : i + 1], old[i : i + 1]).indices[0])


def test_stale_tokens_take_turns():
    selector = Selector(CATSettings(keep_ratio=0.25, cluster_share=0.0), (8, 8))
    selector.labels = torch.zeros(1, 64, dtype=torch.long)  # past the first selection
    seen = torch.zeros(64, dtype=torch.bool)
    for step in range(4):
        seen[selector.select(noise(1, 64, step), torch.zeros(1, 64, 8)).indices[0]] = True
    assert seen.all()


def test_the_top_cluster_gets_three_times_the_thirds_quota():
    place = torch.tensor([[2, 0, 1, 3]])
    assert cluster_quotas(place, 240, 0.25, first=False).tolist() == [[10, 30, 20, 0]]
    assert cluster_quotas(place, 240, 0.25, first=True).tolist() == [[24, 24, 24, 24]]


def test_the_most_changed_cluster_fills_its_quota_with_its_largest_changes():
    selector = Selector(CATSettings(keep_ratio=0.5, clusters=2, cluster_share=0.5), (4, 8))
    selector.labels = (torch.arange(32) // 16)[None]
    change = torch.full((1, 32, 1), 0.01)
    change[0, 16:, 0] = torch.arange(1, 17).float()  # the second cluster changes, most at its end
    chosen = selector.select(change, torch.zeros_like(change)).indices[0].tolist()
    # half of 16 tokens go to clusters, three sixths of these to the top one: its 4 largest
    assert {28, 29, 30, 31} <= set(chosen)


def test_rank_counts_from_the_largest_in_each_cluster():
    labels = torch.tensor([[0, 1, 0, 1, 0]])
    member = torch.nn.functional.one_hot(labels, 2).float()
    assert rank_in_cluster(torch.tensor([[1.0, 5.0, 3.0, 7.0, 2.0]]), labels, member).tolist() == [[2, 1, 0, 0, 1]]


def test_scores_pool_the_largest_change_and_smooth_over_neighbours():
    labels = torch.tensor([[0, 0, 1, 2]])
    member = torch.nn.functional.one_hot(labels, 3).float()
    change = torch.tensor([[[1.0], [2.0], [6.0], [0.0]]])
    assert cluster_scores(change, labels, member, (1, 4), smooth=False).tolist() == [[2.0, 6.0, 0.0]]
    # cluster 1 borders on 0 and 2; 0 and 2 border on 1 only
    assert cluster_scores(change, labels, member, (1, 4), smooth=True).tolist() == [[4.0, 3.5, 3.0]]


def test_focused_tokens_are_always_chosen():
    mask = torch.zeros(1, 64, 64)
    mask[:, 40:64, 8:24] = 1.0
    selector = Selector(CATSettings(keep_ratio=0.3, focus_mask=mask), (8, 8))
    focused = focus_tokens(mask, (8, 8))[0].nonzero().flatten().tolist()
    assert len(focused) == 6
    for step in range(4):
        chosen = selector.select(noise(2, 64, step), torch.zeros(2, 64, 8)).indices
        assert all(set(focused) <= set(row.tolist()) for row in chosen)


def test_a_large_focus_mask_raises_the_number_of_tokens():
    assert Selector(CATSettings(keep_ratio=0.1, focus_mask=torch.ones(1, 8, 8)), (8, 8)).count == 64


def test_after_a_refresh_no_token_is_stale():
    """Without quotas tokens that were left out go first; after a refresh it is those that change most, again."""
    selector = Selector(CATSettings(keep_ratio=0.5, cluster_share=0.0), (8, 8))
    selector.labels, still = torch.zeros(1, 64, dtype=torch.long), torch.zeros(1, 64, 8)
    change = noise(1, 64)
    first = selector.select(change, still).mask()
    selector.note_refresh()
    assert torch.equal(selector.select(change, still).mask(), first)
    assert torch.equal(selector.select(change, still).mask(), ~first)


@pytest.mark.parametrize("times", [1, 3])
def test_scatter_inverts_gather(times):
    selection = Selection.join([Selection(torch.tensor([[0, 2, 3], [1, 2, 4]]), 5)] * times)
    x = noise(2 * times, 5)
    kept = selection.scatter(selection.gather(x))
    assert torch.equal(kept, x * selection.mask())
    assert selection.mask().sum().item() == 6 * times
