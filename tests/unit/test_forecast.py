"""The forecast of tokens that are not computed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cat_core.algorithm.forecast import forecast

levels = st.floats(0.01, 1.0)
slopes = st.floats(-10, 10)
# of one token: line a * sigma + b, and the two levels at which it was computed
tokens = st.tuples(slopes, slopes, levels, levels).filter(lambda token: abs(token[2] - token[3]) > 0.01)


def column(values):
    return torch.tensor(values, dtype=torch.float64).view(1, -1, 1)


def on_lines(several):
    """Arguments of ``forecast`` for tokens on lines of their own, and the lines."""
    slope, start, latest, previous = (column(values) for values in zip(*several, strict=True))
    line = lambda sigma: slope * sigma + start  # noqa: E731
    return (line(latest), latest, line(previous), previous), line


@given(st.lists(tokens, min_size=1, max_size=6), levels)
def test_undamped_every_token_lies_on_its_own_line_at_a_diminished_reach(several, sigma):
    known, line = on_lines(several)
    stretch = known[1] - known[3]
    reach = (sigma - known[1]) / stretch
    expected = line(known[1] + stretch * reach / (1 + reach.abs()))
    assert torch.allclose(forecast(*known, sigma, 1.0), expected, atol=1e-9)


@given(st.lists(tokens, min_size=1, max_size=6), levels, st.floats(0, 1))
def test_no_token_goes_further_than_its_last_change(several, sigma, damping):
    known, _ = on_lines(several)
    moved = (forecast(*known, sigma, damping) - known[0]).abs()
    assert (moved <= (known[0] - known[2]).abs() + 1e-9).all()


@given(st.lists(tokens, min_size=1, max_size=6), levels)
def test_fully_damped_every_token_is_held(several, sigma):
    known, _ = on_lines(several)
    assert torch.equal(forecast(*known, sigma, 0.0), known[0])


@given(st.lists(tokens, min_size=1, max_size=6), levels, st.floats(0, 1))
def test_damping_goes_that_share_of_the_way(several, sigma, damping):
    known, _ = on_lines(several)
    expected = (1 - damping) * known[0] + damping * forecast(*known, sigma, 1.0)
    assert torch.allclose(forecast(*known, sigma, damping), expected, atol=1e-9)


@given(st.lists(tokens, min_size=1, max_size=6), st.floats(0, 1))
def test_at_its_own_level_a_token_is_what_was_computed(several, damping):
    known, _ = on_lines(several)
    for i, token in enumerate(several):
        assert torch.equal(forecast(*known, token[2], damping)[0, i], known[0][0, i])


def test_a_token_without_a_trend_is_held_beside_one_that_moves():
    latest_sigma, previous_sigma = column([0.5, 0.5]), column([0.5, 1.0])
    given_tokens = forecast(column([3.0, 3.0]), latest_sigma, column([7.0, 7.0]), previous_sigma, 0.25, 1.0)
    assert given_tokens.flatten().tolist() == pytest.approx([3.0, 3.0 - 4 / 3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_precision_is_kept(dtype):
    value, sigma = torch.ones(1, 2, 3, dtype=dtype), torch.ones(1, 2, 1, dtype=dtype)
    assert forecast(value, sigma / 2, value * 2, sigma, 0.25, 0.9).dtype == dtype
