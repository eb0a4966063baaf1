"""Full steps that are named, in place of intervals."""

from dataclasses import replace

import pytest

from cat_core.algorithm.schedule import Schedule, StepKind, is_short
from cat_core.settings import PRESETS, CATSettings

SIGMAS = [1 - step / 12 for step in range(13)]


def full_steps(settings, sigmas=SIGMAS):
    return [step for step, kind in enumerate(Schedule(sigmas, settings).kinds) if kind is StepKind.FULL]


@pytest.mark.parametrize("text", ["1-3", "0,2,2", "0,3-1", "0;4", "-1", "0,,3", "a", "0-2,1", "0-", "1e3", None, 3])
def test_what_names_no_steps_is_refused_with_what_is_allowed(text):
    with pytest.raises(ValueError, match="full_steps must"):
        CATSettings(full_steps=text)


@pytest.mark.parametrize("text", ["0-3,7,11", " 0 - 3, 7 ,11 "])
def test_named_steps_are_full_and_no_others(text):
    settings = replace(PRESETS["quality"], full_steps=text, warmup_steps=6, final_full_steps=3)
    assert full_steps(settings) == [0, 1, 2, 3, 7, 11]


def test_without_names_intervals_hold():
    assert full_steps(PRESETS["quality"]) == full_steps(replace(PRESETS["quality"], full_steps="  "))


def test_steps_behind_the_runs_end_are_left_out():
    assert full_steps(replace(PRESETS["quality"], full_steps="0,5,20")) == [0, 5]


@pytest.mark.parametrize("text", ["", "0", "0-2,6,11", "0-2,8", "0,3,6,9"])
def test_nothing_is_said_of_steps_named_for_a_run_like_this(text):
    assert Schedule(SIGMAS, CATSettings(full_steps=text)).note_on_names() is None


@pytest.mark.parametrize(("text", "last"), [("0-2,4,6,7", 7), ("0,5,20", 20), ("0-3", 3)])
def test_steps_named_for_a_run_of_another_length_are_told(text, last):
    note = Schedule(SIGMAS, CATSettings(full_steps=text)).note_on_names()
    assert note == f"full_steps is for another number of steps: it ends with step {last}, this run with 11"


def test_pruned_steps_stand_between_named_ones():
    kinds = Schedule(SIGMAS, CATSettings(full_steps="0-2,8", pruned_interval=2)).kinds
    assert [step for step, kind in enumerate(kinds) if kind is StepKind.PRUNED] == [4, 6, 10]


def test_the_first_of_them_are_the_warm_up():
    assert Schedule(SIGMAS, CATSettings(full_steps="0-2,8")).warmup == 3
    assert Schedule(SIGMAS, CATSettings(full_steps="0,2-8")).warmup == 1


def test_where_tokens_are_refused_steps_named_for_them_are_not_used():
    assert CATSettings(full_steps="0-2,8").without_tokens().full_steps == ""
    idle = replace(PRESETS["quality"], full_steps="0-2,8")
    assert idle.without_tokens() == idle


def test_named_steps_are_meant_for_short_runs_too():
    assert is_short(8, CATSettings())
    assert not is_short(8, CATSettings(full_steps="0-2,5,7"))
    assert Schedule([1, 0.5, 0.25, 0], replace(PRESETS["quality"], full_steps="0,2")).reason_against() is None
