"""What samplers of a kind bear, as bounds on settings."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cat_core.algorithm.schedule import SHORT_RUN, Schedule, StepKind
from cat_core.algorithm.solver import MEDIUM_RUN, Solver
from cat_core.settings import PRESETS, CATSettings

EXACT, BACK = Solver("is exact"), Solver("looks back", corrections=(0.0, 0.5, 1.0))
NOISY = Solver("adds noise", corrections=(0.0, 0.0, 0.0), forecast=0.0, gap=1)
LONG = MEDIUM_RUN + 1


@pytest.mark.parametrize("preset", PRESETS)
def test_a_sampler_that_bears_all_changes_nothing_in_a_long_run(preset):
    assert EXACT.bound(PRESETS[preset], LONG) == PRESETS[preset]


def test_settings_that_ask_for_less_stay():
    less = CATSettings(correction=0.2, forecast=0.1)
    assert BACK.bound(less, MEDIUM_RUN) == less
    assert BACK.bound(CATSettings(), LONG) == CATSettings()
    assert BACK.bound(CATSettings(), MEDIUM_RUN) == CATSettings(correction=0.5)


def test_a_noisy_sampler_holds_tokens_and_leaves_out_one_step_at_a_time():
    assert NOISY.bound(CATSettings(), LONG) == CATSettings(correction=0.0, forecast=0.0)
    wide = CATSettings(keep_ratio=0.0, refresh_interval=6)
    assert NOISY.bound(wide, LONG) == replace(wide, refresh_interval=2, correction=0.0, forecast=0.0)


def test_where_tokens_cannot_be_borne_idle_steps_take_their_place():
    bounded = replace(NOISY, tokens=False).bound(CATSettings(), LONG)
    assert bounded == replace(PRESETS["quality"], correction=0.0, forecast=0.0)
    everything = CATSettings(keep_ratio=1.0)
    assert replace(EXACT, tokens=False).bound(everything, LONG) == everything


@given(
    st.sampled_from([EXACT, BACK, NOISY]),
    st.sampled_from([settings for settings in PRESETS.values() if settings.warmup_steps == 0]),
    st.integers(6, SHORT_RUN),
    st.booleans(),
)
def test_short_runs_have_no_two_idle_steps_in_a_row_and_no_pruned_ones(solver, settings, steps, guided):
    bounded = solver.bound(settings, steps, guided)
    kinds = Schedule([1 - step / steps for step in range(steps + 1)], bounded).kinds
    letters = "".join(kind.value[0] for kind in kinds)
    assert letters.startswith("fff")
    assert letters.endswith("ff")
    assert "ii" not in letters
    assert "i" in letters
    assert StepKind.PRUNED not in kinds
    assert bounded.forecast == (0 if guided else min(settings.forecast, solver.forecast))
    assert bounded.correction == (settings.correction if solver is EXACT else 0)


@pytest.mark.parametrize("settings", [CATSettings(keep_ratio=1.0), CATSettings(warmup_steps=3)], ids=["all", "chosen"])
def test_short_runs_with_all_tokens_or_chosen_warm_up_stay_as_they_are(settings):
    assert EXACT.bound(settings, SHORT_RUN) == settings
