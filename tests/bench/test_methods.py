"""The table of methods."""

from dataclasses import replace

import pytest

from bench.methods import (
    ABLATION,
    BALANCED,
    EASY,
    FEWER,
    LAZY,
    OFF,
    OTHERS,
    OURS,
    PUBLISHED,
    change_settings,
    methods,
    target,
)
from bench.selectors import SELECTORS
from bench.tasks import TASKS
from cat_core.settings import PAPER, PRESETS


def of(group, steps):
    return [method for method in methods(steps) if method.group == group]


@pytest.mark.parametrize("steps", [8, 28, 50])
def test_no_two_methods_share_a_name(steps):
    table = [target(steps), *methods(steps)]
    assert len({method.name for method in table}) == len(table)


def test_fewer_steps_are_scaled_with_the_target():
    assert [method.steps for method in of(FEWER, 28)] == [8, 10, 12, 14, 16, 18, 22]
    assert [method.steps for method in of(FEWER, 50)] == [14, 18, 21, 25, 29, 32, 39]
    assert [method.steps for method in of(FEWER, 8)] == [4, 5, 6, 7]


def test_every_other_method_takes_the_targets_steps():
    assert {method.steps for method in methods(50) if method.group != FEWER} == {50}


def test_presets_paper_and_the_hosts_caches_are_there():
    assert {method.name: method.settings for method in of(OURS, 28)} | {"paper": PAPER} == PRESETS
    assert [method.settings for method in of(PUBLISHED, 28)] == [PAPER]
    assert {method.cache[0] for method in of(LAZY, 28) + of(EASY, 28)} == {LAZY, EASY}


@pytest.mark.parametrize(("steps", "computed"), [(28, 14), (20, 10), (12, 8), (8, 6)])
def test_other_solvers_have_as_many_steps_as_balanced_computes(steps, computed):
    table = [method for method in methods(steps, TASKS["solvers"], "deis") if method.group == OTHERS]
    assert {method.steps for method in table} == {computed}
    assert {method.sampler for method in table} == {"euler", "dpmpp_2m", "res_multistep", "ipndm", "uni_pc"}
    assert len({method.recipe() for method in table}) == 5


def test_a_sampler_that_adds_noise_has_no_other_solvers_as_rivals():
    assert all(method.sampler is None for method in methods(28, TASKS["solvers"], "euler_ancestral"))


def test_an_ablation_changes_its_knobs_or_what_chooses_and_nothing_else():
    table = of(ABLATION, 28)
    assert {method.name for method in table} == {*OFF, *SELECTORS}
    for method in table:
        assert method.settings == replace(BALANCED, **OFF.get(method.name, {}))
        assert method.selector == (method.name if method.name in SELECTORS else None)
        assert (method.settings, method.selector) != (BALANCED, None)


def test_an_ingredient_that_is_not_there_is_not_switched_off():
    assert list(
        change_settings(replace(BALANCED, forecast=0.0), {"a": {"forecast": 0.0}, "b": {"correction": 0.0}})
    ) == ["b"]


def test_settings_that_make_no_sense_are_left_out():
    assert change_settings(replace(BALANCED, keep_ratio=0.0), {"no refresh": {"refresh_interval": 0}}) == {}


def test_changed_settings_make_another_recipe():
    method = of(OURS, 28)[0]
    assert replace(method, settings=replace(BALANCED, keep_ratio=0.31)).recipe() != method.recipe()
    assert replace(method, steps=29).recipe() != method.recipe()
    assert replace(method, cache=(LAZY, 0.1)).recipe() != method.recipe()
    assert replace(method, selector="random tokens").recipe() != method.recipe()
