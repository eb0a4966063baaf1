"""Noise and key/value caches."""

import pytest
import torch

from cat_core.algorithm.clustering import Propagation
from cat_core.algorithm.forecast import forecast
from cat_core.algorithm.noise import NoiseCache
from cat_core.algorithm.selection import Selection
from cat_core.caching.kv import KVCache


def test_a_trend_is_followed_for_half_of_as_far_as_it_was_seen():
    cache = NoiseCache(torch.zeros(1, 3, 2), 1.0)
    cache.update(torch.ones(1, 3, 2), 0.75)
    assert torch.allclose(cache.at(0.5, 1.0), torch.full((1, 3, 2), 1.5))
    assert torch.allclose(cache.at(0.5, 0.5), torch.full((1, 3, 2), 1.25))
    assert torch.equal(cache.at(0.5, 0.0), torch.ones(1, 3, 2))


def test_every_token_has_a_trend_of_its_own():
    cache = NoiseCache(torch.zeros(1, 2, 1), 1.0)
    cache.update(torch.ones(1, 2, 1), 0.5)
    cache.update(torch.full((1, 2, 1), 3.0), 0.25, mask=torch.tensor([[[True], [False]]]))
    # the first token's reach is its stretch, the second's is half of it
    assert cache.at(0.0, 1.0).flatten().tolist() == [4.0, 1.5]


def test_without_a_trend_the_value_is_held():
    value = torch.randn(1, 4, 2)
    sigma = torch.full((1, 4, 1), 0.7)
    assert torch.equal(forecast(value, sigma, value + 1, sigma, 0.1, 1.0), value)


def test_a_second_evaluation_at_the_same_sigma_keeps_the_trend():
    cache = NoiseCache(torch.zeros(1, 1, 1), 1.0)
    cache.update(torch.full((1, 1, 1), 9.0), 0.5)
    cache.update(torch.ones(1, 1, 1), 0.5)
    assert cache.at(0.0, 1.0).item() == 1.5


@pytest.mark.parametrize("first", [0, 3])
def test_renewed_rows_replace_the_cached_ones_in_place(first):
    batch, tokens, width = 2, 6, 4
    key, value = torch.randn(batch, first + tokens, width), torch.randn(batch, first + tokens, width)
    cache = KVCache()
    cache.store(0, key, value)
    before = [buffer.values.data_ptr() for buffer in cache.layers[0]]
    selection = Selection(torch.tensor([[0, 3], [2, 5]]), tokens)
    rows = torch.randn(batch, first + 2, width)
    keys, _ = cache.renew(0, rows, rows, selection, first)
    expected = key.clone()
    expected[:, :first] = rows[:, :first]
    for sample in range(batch):
        expected[sample, first + selection.indices[sample]] = rows[sample, first:]
    assert torch.equal(keys, expected)
    assert [buffer.values.data_ptr() for buffer in cache.layers[0]] == before


def test_rows_of_another_number_of_tokens_are_refused():
    cache = KVCache()
    cache.store(0, torch.zeros(1, 8, 4), torch.zeros(1, 8, 4))
    with pytest.raises(ValueError, match="7 computed rows do not fit 8"):
        cache.renew(0, torch.zeros(1, 7, 4), torch.zeros(1, 7, 4), Selection(torch.tensor([[0, 3]]), 6), 2)


def test_the_cache_keeps_a_copy():
    key = torch.zeros(1, 2, 3)
    cache = KVCache()
    cache.store(0, key, key)
    key.fill_(7)
    assert cache.layers[0][0].values.sum() == 0


def test_a_smaller_dtype_saves_memory_and_is_given_back_as_asked():
    rows = torch.randn(1, 8, 16)
    cache, small = KVCache(), KVCache(torch.float8_e4m3fn)
    for held in (cache, small):
        held.store(0, rows, rows)
    # and a scale of four bytes for each of eight rows of keys and values
    assert small.bytes == cache.bytes / 4 + 2 * 8 * 4
    keys, _ = small.renew(0, rows, rows, Selection(torch.arange(8)[None], 8), 0)
    assert keys.dtype == rows.dtype
    assert torch.allclose(keys, rows, rtol=0.07, atol=0.01)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_eight_bits_hold_rows_of_any_size(size):
    """A row of zeros among them; heads may be apart."""
    rows = size * torch.randn(2, 5, 4, 8)
    rows[0, 0] = 0
    cache = KVCache(torch.float8_e4m3fn)
    cache.store(0, rows, rows)
    selection = Selection(torch.tensor([[0], [0]]), 5)
    keys, _ = cache.renew(0, rows[:, :1], rows[:, :1], selection, 0)
    assert keys.shape == rows.shape
    assert torch.allclose(keys, rows, rtol=0.07, atol=0.003 * size)


def test_eight_bits_do_not_drift_when_other_rows_are_renewed():
    rows = torch.randn(1, 8, 16)
    cache = KVCache(torch.float8_e4m3fn)
    cache.store(0, rows, rows)
    selection = Selection(torch.tensor([[0]]), 8)
    first, _ = cache.renew(0, rows[:, :1], rows[:, :1], selection, 0)
    for _ in range(20):
        last, _ = cache.renew(0, rows[:, :1], rows[:, :1], selection, 0)
    assert torch.allclose(first, last, rtol=1e-5)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_rows_that_are_not_computed_follow_their_cluster(dtype):
    held = torch.zeros(1, 6, 4)
    cache = KVCache(dtype)
    # values may come with their heads apart
    cache.store(0, held, held.view(1, 6, 2, 2))
    selection = Selection(torch.tensor([[0, 1]]), 4)
    labels = torch.tensor([[0, 1, 1, 2]])
    rows = torch.cat((torch.full((1, 2, 4), 9.0), torch.tensor([5.0, 6.0]).view(1, 2, 1).expand(1, 2, 4)), 1)
    propagation = Propagation(labels, 3, selection.indices, 1.0)
    found = cache.renew(0, rows, rows.view(1, 4, 2, 2), selection, 2, propagation)
    for kept, buffer in zip(found, cache.layers[0], strict=True):
        assert kept.flatten(2)[0, :, 0].tolist() == [9.0, 9.0, 5.0, 6.0, 3.0, 0.0]
        assert torch.equal(kept, buffer.values.to(kept.dtype))
