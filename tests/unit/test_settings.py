"""Settings: what is allowed, what is refused and how it is said."""

import json
import math

import pytest

from cat_core.settings import CATSettings


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
