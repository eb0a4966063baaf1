"""Settings tried on recordings: the replay does what the method does, and the search finds what is planted."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cat_core.algorithm.branch import Branch
from cat_core.algorithm.replay import Recording, replay
from cat_core.algorithm.schedule import Schedule, StepKind
from cat_core.algorithm.search import IDLE, find_full_steps, limit, mix_in_tokens, plan_share, spread, turn
from cat_core.settings import PRESETS, CATSettings, name_steps, parse_steps

STEPS = 12
SIGMAS = [1 - step / STEPS for step in range(STEPS + 1)]


def recorded(bends=(), kinks=()):
    """A run whose noise is a line over sigma, but for where it bends and for steps that stand out of it."""
    torch.manual_seed(3)
    noise = torch.randn(1, 5, 4)
    slopes = [torch.randn(1, 5, 4) for _ in range(len(bends) + 1)]
    latents, denoised, x = [], [], torch.randn(1, 5, 4)
    for step, (sigma, after) in enumerate(pairwise(SIGMAS)):
        shown = noise + (5.0 * torch.ones_like(noise) if step in kinks else 0)
        latents.append(x)
        denoised.append(x - sigma * shown)
        x = x + (after - sigma) * shown
        noise = noise + (after - sigma) * slopes[sum(step >= bend for bend in bends)]
    return Recording(SIGMAS, latents, denoised)


@given(st.sets(st.integers(1, 60)).map(lambda steps: [0, *sorted(steps)]))
def test_names_of_steps_are_read_as_they_are_written(steps):
    assert list(parse_steps("full_steps", name_steps(steps))) == steps


def test_a_run_in_full_errs_nothing():
    assert replay(recorded(bends=(5,)), replace(IDLE, full_steps=f"0-{STEPS - 1}")) == 0


def test_it_errs_by_what_the_sampler_would():
    """Without correction: the difference between Euler's runs over the recorded answers and the forecast ones."""
    recording, settings = recorded(bends=(4, 8)), replace(IDLE, full_steps="0-2,4,7,11", correction=0.0)
    branch, error, squares = Branch(settings), torch.zeros(1, 5, 4), 0.0
    for kind, sigma, after, x, new in zip(
        Schedule(SIGMAS, settings).kinds, SIGMAS, SIGMAS[1:], recording.latents, recording.denoised, strict=False
    ):
        full = kind is StepKind.FULL
        answer = branch.answer_full(x, new, sigma, after) if full else branch.answer_idle(x, sigma, after)
        # a step of Euler's method moves by its noise
        error = error * (after / sigma) + (1 - after / sigma) * (answer - new)
        squares += error.square().sum().item()
    expected = math.sqrt(squares / STEPS) / recording.denoised[-1].norm().item()
    assert replay(recording, settings) == pytest.approx(expected, rel=1e-4)


def test_full_steps_are_found_where_answers_are_unlike_the_trend():
    found = find_full_steps([recorded(kinks=(6,))], 5, last=0)
    assert 6 in parse_steps("full_steps", found.full_steps)
    assert 6 not in parse_steps("full_steps", find_full_steps([recorded()], 3, last=0).full_steps)


def test_found_steps_are_as_many_as_asked_for_and_no_neighbour_is_better():
    recordings = [recorded(bends=(3, 7)), recorded(bends=(5,), kinks=(9,))]
    found = find_full_steps(recordings, 5, last=0)
    steps = parse_steps("full_steps", found.full_steps)
    assert (len(steps), steps[0]) == (5, 0)

    def errs(tried):
        named = replace(found, full_steps=name_steps(tried))
        return sum(math.log(replay(one, named) + 1e-9) for one in recordings)

    for place in range(1, 5):
        for moved in (steps[place] - 1, steps[place] + 1):
            if 0 < moved < STEPS and moved not in steps:
                assert errs([*steps[:place], moved, *steps[place + 1 :]]) >= errs(steps)


@given(st.integers(1, 60), st.data())
def test_spread_steps_are_as_many_as_asked_for_and_even(steps, data):
    count = data.draw(st.integers(1, steps))
    first, last = data.draw(st.integers(1, 4)), data.draw(st.integers(0, 3))
    full = spread(steps, count, first, last)
    assert (len(full), full[0]) == (count, 0)
    assert full == sorted(set(full))
    assert full[-1] < steps
    last = min(last, count - 1)
    first = min(first, count - last)
    assert full[:first] + full[count - last :] == [*range(first), *range(steps - last, steps)]
    gaps = [after - before for before, after in pairwise([*full[first - 1 : count - last], steps - last])]
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("share", [0.3, 0.6])
@pytest.mark.parametrize("correction", [0.0, 0.5, 1.0])
def test_trends_ask_for_no_more_than_the_sampler_bears_and_none_comes_twice(correction, share):
    most = CATSettings(forecast=0.4, correction=correction)
    turned = turn(PRESETS["balanced"], most, share)
    assert len(turned) == len({(one.forecast, one.correction) for one in turned}) > 1 - (correction == 0)
    assert all(one.forecast <= 0.4 and one.correction <= correction for one in turned)
    assert {replace(one, forecast=0.7, correction=1.0) for one in turned} == {PRESETS["balanced"]}


@pytest.mark.parametrize(
    ("share", "correction", "first"), [(0.6, 1.0, (0.7, 1.0)), (0.4, 1.0, (0.3, 0.5)), (0.6, 0.5, (0.3, 0.0))]
)
def test_the_first_trend_suits_the_sampler_and_how_many_steps_in_a_row_are_idle(share, correction, first):
    turned = turn(IDLE, CATSettings(forecast=1.0, correction=correction), share)[0]
    assert (turned.forecast, turned.correction) == first


def test_knobs_within_what_the_sampler_bears_stay():
    most = CATSettings(forecast=0.4, correction=0.5)
    assert limit(PRESETS["balanced"], most) == replace(PRESETS["balanced"], forecast=0.4, correction=0.5)
    assert limit(PRESETS["paper"], most) == PRESETS["paper"]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_last_steps_stay_as_far_as_there_are_steps_to_spend(count):
    steps = parse_steps("full_steps", find_full_steps([recorded(bends=(4,))], count, last=2).full_steps)
    assert len(steps) == count
    assert steps[0] == 0
    assert set(steps) >= set(range(STEPS - min(2, count - 1), STEPS))


@pytest.mark.parametrize("share", [0.4, 0.5, 0.8])
def test_pruned_steps_are_mixed_in_up_to_a_share(share):
    settings = replace(IDLE, full_steps="0-2,6,11")
    mixed = mix_in_tokens(settings, STEPS, share, 0.5)
    if share == 0.4:
        assert mixed is None
    else:
        assert plan_share(settings, STEPS) < plan_share(mixed, STEPS) <= share
        assert mixed.full_steps == settings.full_steps


def test_what_settings_compute_is_planned():
    assert plan_share(replace(IDLE, full_steps="0-2,5"), 8) == 0.5
    assert plan_share(PRESETS["balanced"], 28) == pytest.approx((10 + 0.75 * 5) / 28)
