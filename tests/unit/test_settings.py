"""Settings: what is allowed, what is refused and how it is said."""

import json
import math

import pytest

from cat_core.settings import CATSettings, parse_steps


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("keep_ratio", 1.5),
        ("keep_ratio", -0.1),
        ("keep_ratio", math.nan),
        ("keep_ratio", "0.3"),
        ("keep_ratio", True),
        ("clusters", 0),
        ("clusters", 2.5),
        ("refresh_interval", -1),
        ("warmup_steps", 1001),
        ("forecast", 1.01),
        ("seed", -1),
    ],
)
def test_a_wrong_number_is_refused_with_its_range(knob, value):
    with pytest.raises(ValueError, match=rf"{knob} is .* from \S+ to \S+, not"):
        CATSettings(**{knob: value})


@pytest.mark.parametrize("knob", ["cache_dtype", "cache_device"])
def test_a_wrong_choice_is_refused_with_the_choices(knob):
    with pytest.raises(ValueError, match=rf"{knob} must be one of model, "):
        CATSettings(**{knob: "floppy"})


def test_all_knobs_are_in_the_json():
    settings = CATSettings(keep_ratio=0.45, clusters=7, cache_dtype="bfloat16")
    assert CATSettings(**json.loads(settings.to_json())) == settings


@pytest.mark.parametrize(
    ("text", "steps"),
    [("", ()), ("  ", ()), ("0", (0,)), ("0-3,7, 11", (0, 1, 2, 3, 7, 11)), ("0 - 2", (0, 1, 2))],
)
def test_steps_are_named_one_by_one_and_in_ranges(text, steps):
    assert parse_steps("full_steps", text) == steps


@pytest.mark.parametrize("text", ["1", "0,0", "0-3,3", "0,5-4", "5-3", "0-9999" + ",0-9999" * 100_000])
def test_steps_that_do_not_rise_from_0_are_refused(text):
    with pytest.raises(ValueError, match="full_steps must begin with 0 and rise"):
        parse_steps("full_steps", text)


@pytest.mark.parametrize("text", ["0;1", "-1", "0-", "0,,1", "12345", None, 3, ["0"]])
def test_what_is_no_list_of_steps_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="full_steps must be like '0-3,7,11'"):
        CATSettings(full_steps=text)
