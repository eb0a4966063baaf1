"""Which steps are full, pruned or idle."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cat_core.algorithm.schedule import (
    FEWEST_STEPS,
    SHORT_RUN,
    Schedule,
    StepKind,
    automatic_warmup,
    count_whole_steps,
)
from cat_core.settings import PAPER, CATSettings


def sigmas(steps: int) -> list[float]:
    return [1 - i / steps for i in range(steps + 1)]


def picture(schedule: Schedule) -> str:
    return "".join(kind.value[0] for kind in schedule.kinds)


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ({"warmup_steps": 4, "refresh_interval": 0, "final_full_steps": 0}, "ffffpppppp"),
        ({"warmup_steps": 4, "refresh_interval": 3, "final_full_steps": 1}, "ffffppfppf"),
        ({"warmup_steps": 3, "refresh_interval": 3, "final_full_steps": 1}, "fffpfpfppf"),
        ({"warmup_steps": 3, "refresh_interval": 4, "final_full_steps": 0}, "fffpppfppp"),
        ({"warmup_steps": 3, "refresh_interval": 99, "final_full_steps": 2}, "fffpppppff"),
        ({"warmup_steps": 2, "refresh_interval": 2, "final_full_steps": 2}, "fffpfpfpff"),
        ({"warmup_steps": 4, "refresh_interval": 3, "final_full_steps": 1, "keep_ratio": 0.0}, "ffffiifiif"),
        ({"warmup_steps": 2, "refresh_interval": 4, "final_full_steps": 1, "pruned_interval": 2}, "ffipifipif"),
        ({"warmup_steps": 2, "refresh_interval": 0, "final_full_steps": 1, "pruned_interval": 3}, "ffipiipiif"),
        ({"warmup_steps": 1, "refresh_interval": 1}, "ffffffffff"),
        ({"keep_ratio": 1.0}, "ffffffffff"),
    ],
)
def test_kinds_of_ten_steps(knobs, expected):
    assert picture(Schedule(sigmas(10), CATSettings(**{"keep_ratio": 0.3, "pruned_interval": 1, **knobs}))) == expected


@given(st.integers(1, 80), st.integers(0, 12), st.integers(1, 9), st.integers(0, 12))
def test_no_stretch_between_full_steps_is_longer_than_the_interval_and_they_grow_evenly(steps, warmup, interval, final):
    knobs = CATSettings(warmup_steps=warmup, refresh_interval=interval, final_full_steps=final)
    schedule = Schedule(sigmas(steps), knobs)
    full = [step for step, kind in enumerate(schedule.kinds) if kind is StepKind.FULL]
    assert full[: schedule.warmup] == list(range(min(schedule.warmup, steps)))
    assert set(range(max(steps - final, 0), steps)) <= set(full)
    stretches = [after - before for before, after in zip(full, [*full[1:], steps], strict=True)]
    between = [stretch for stretch in stretches if stretch > 1]
    assert max(stretches) <= interval
    assert not between or max(between) - min(between) <= 1


def test_with_a_focus_mask_there_are_pruned_steps_at_keep_ratio_zero():
    focused = CATSettings(warmup_steps=2, pruned_interval=1, final_full_steps=1, focus_mask=torch.ones(1, 4, 4))
    assert picture(Schedule(sigmas(8), focused)) == "ffppfppf"


def test_the_paper_at_28_steps_has_8_full_and_20_pruned_steps():
    assert picture(Schedule(sigmas(28), PAPER)) == "f" * 8 + "p" * 20


@given(st.integers(1, 60), st.floats(0, 1))
def test_a_sigma_belongs_to_the_interval_it_lies_in(steps, sigma):
    levels = sigmas(steps)
    step = Schedule(levels, CATSettings()).find_step(sigma)
    assert levels[step] >= sigma - 1e-5
    assert levels[step + 1] <= sigma + 1e-5


@given(st.integers(1, 60))
def test_every_level_starts_its_own_step_even_with_a_rounding_error(steps):
    schedule = Schedule(sigmas(steps), CATSettings())
    for step, sigma in enumerate(sigmas(steps)[:-1]):
        assert (
            schedule.find_step(sigma)
            == schedule.find_step(sigma * (1 + 1e-7))
            == schedule.find_step(sigma * (1 - 1e-7))
            == step
        )


def test_levels_beyond_the_ends_belong_to_the_ends():
    schedule = Schedule([5.0, 3.0, 1.0, 0.0], CATSettings())
    assert (schedule.find_step(9.0), schedule.find_step(1e-9)) == (0, 2)


def test_rising_sigmas_are_a_reason_not_to_prune():
    assert "do not fall" in (Schedule([0.2, 0.5, 0.9], CATSettings()).reason_against() or "")


def test_too_few_steps_are_a_reason_not_to_prune():
    assert "3 steps" in (Schedule(sigmas(3), CATSettings(warmup_steps=8)).reason_against() or "")


def test_automatic_warmup_is_all_of_a_very_short_run_and_a_few_steps_of_a_longer_one():
    assert [automatic_warmup(steps) for steps in range(FEWEST_STEPS)] == list(range(FEWEST_STEPS))
    assert {automatic_warmup(steps) for steps in range(FEWEST_STEPS, SHORT_RUN + 1)} == {3}
    assert {automatic_warmup(steps) for steps in range(SHORT_RUN + 1, 101)} == {4}
    short, long = (Schedule(sigmas(steps), CATSettings()) for steps in (FEWEST_STEPS - 1, FEWEST_STEPS))
    assert "too few" in (short.reason_against() or "")
    assert long.reason_against() is None


def test_keys_are_kept_where_the_next_computed_step_is_a_pruned_one():
    kinds = Schedule(sigmas(10), CATSettings(0.3, refresh_interval=4, warmup_steps=2, final_full_steps=1))
    assert picture(kinds) == "ffipifipif"
    assert [step for step in range(10) if kinds.prunes_next(step)] == [1, 2, 5, 6]


def test_what_comes_next_knows_the_end():
    schedule = Schedule(
        sigmas(10), CATSettings(0.3, warmup_steps=4, refresh_interval=0, final_full_steps=0, pruned_interval=1)
    )
    assert schedule.prunes_next(3)
    assert not schedule.prunes_next(9)


LEVELS = [number / 1000 for number in range(1, 1001)]


@given(st.integers(1, 60), st.data())
def test_parts_of_a_run_are_known_by_the_steps_of_the_whole(steps, data):
    whole = sigmas(steps)
    start = data.draw(st.integers(0, steps - 1))
    end = data.draw(st.integers(start + 1, steps))
    counted = count_whole_steps(whole[start : end + 1], LEVELS)
    assert counted >= end - start
    # the two ends lie on a grid of a thousandth
    assert abs(counted - steps) <= 1 + 2 * steps**2 / (1000 * (end - start))


def test_where_noise_levels_say_nothing_steps_are_counted():
    assert count_whole_steps([1.0, 0.5, 0.0], []) == 2
    assert count_whole_steps([0.5, 0.5], LEVELS) == 1
    assert count_whole_steps([0.2, 0.9], LEVELS) == 1
    assert count_whole_steps([], LEVELS) == count_whole_steps([1.0], LEVELS) == 0
