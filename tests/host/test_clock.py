"""The time of each step."""

import pytest
import torch

from cat_core.host import clock
from cat_core.host.clock import StepClock


@pytest.fixture
def times(monkeypatch):
    """What the processor's clock shows, look by look."""

    def show(*seconds):
        monkeypatch.setattr(clock.time, "perf_counter", iter(seconds).__next__)

    return show


def test_a_step_takes_until_the_next_one_begins_and_evaluations_of_one_step_add_up(times):
    times(0.0, 1.0, 1.5, 4.0, 4.25)
    kept = StepClock(torch.device("cpu"))
    for step in (0, 1, 1, 0):
        kept.begin(step)
    assert kept.read() == {0: 1.25, 1: 3.0}


def test_a_run_without_steps_takes_no_time():
    assert StepClock(torch.device("cpu")).read() == {}


def test_of_devices_whose_clock_is_not_known_no_time_is_kept():
    kept = StepClock(torch.device("xpu"))
    kept.begin(0)
    assert kept.read() == {}
