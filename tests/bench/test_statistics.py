"""Paired statistics against numbers worked out by hand."""

import numpy as np
import pytest

from bench.statistics import Interval, at_cost, difference_at_equal_cost, mean_interval

NAN = float("nan")


def test_mean_and_interval_of_four_prompts():
    # mean 5, deviation sqrt(20 / 3) = 2.582, standard error 1.291, Student's t for 3 degrees of freedom 3.1824
    interval = mean_interval(np.array([2.0, 4.0, 6.0, 8.0]), np.array(["a", "b", "c", "d"]))
    assert interval.mean == 5
    assert interval.half == pytest.approx(3.182446 * np.sqrt(20 / 3) / 2, rel=1e-6)
    assert interval.low == pytest.approx(5 - 4.108520, abs=1e-5)
    assert interval.count == 4


def test_seeds_of_a_prompt_count_as_one_observation():
    # prompt means 2 and 6: mean 4, deviation sqrt(8), standard error 2, t for 1 degree of freedom 12.7062
    interval = mean_interval(np.array([1.0, 3.0, 5.0, 7.0]), np.array(["a", "a", "b", "b"]))
    assert interval.mean == 4
    assert interval.half == pytest.approx(2 * 12.706205, rel=1e-6)
    assert interval.count == 4


def test_prompts_weigh_alike_however_many_seeds_they_have():
    assert mean_interval(np.array([0.0, 0.0, 0.0, 8.0]), np.array(["a", "a", "a", "b"])).mean == 4


def test_what_was_not_measured_is_left_out():
    interval = mean_interval(np.array([1.0, NAN, 3.0, NAN]), np.array(["a", "a", "b", "c"]))
    assert (interval.mean, interval.count) == (2, 2)


def test_one_prompt_has_a_mean_and_no_interval():
    interval = mean_interval(np.array([1.0, 3.0]), np.array(["a", "a"]))
    assert interval.mean == 2
    assert np.isnan(interval.half)


def test_nothing_measured_has_no_mean():
    assert mean_interval(np.array([NAN]), np.array(["a"])).count == 0
    assert np.isnan(mean_interval(np.array([]), np.array([])).mean)


def test_the_interval_covers_the_true_mean_in_95_percent_of_draws():
    rng = np.random.default_rng(0)
    prompts = np.repeat(np.arange(8), 2)

    def covers() -> bool:
        # what a prompt and what a seed adds
        interval = mean_interval(rng.normal(size=8).repeat(2) + 0.3 * rng.normal(size=16), prompts)
        return abs(interval.mean) <= interval.half

    assert np.mean([covers() for _ in range(2000)]) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(
    ("cost", "value"), [(0.3, 30), (0.4, 32), (0.45, 33), (0.5, 34), (0.65, 37), (0.8, 40), (0.29, NAN), (0.81, NAN)]
)
def test_a_curve_is_straight_between_its_points_and_ends_at_its_ends(cost, value):
    # given out of order
    found = at_cost(cost, np.array([0.8, 0.3, 0.5]), np.array([40.0, 30.0, 34.0]))
    assert found == pytest.approx(value, nan_ok=True)


def test_points_of_equal_cost_are_averaged():
    assert at_cost(0.5, np.array([0.5, 0.5, 0.7]), np.array([30.0, 34.0, 40.0])) == 32


def test_a_curve_passes_over_points_that_were_not_measured():
    assert at_cost(0.5, np.array([0.4, NAN, 0.5, 0.6]), np.array([30.0, 99.0, NAN, 34.0])) == pytest.approx(32)
    assert np.isnan(at_cost(0.5, np.array([NAN]), np.array([NAN])))


def test_differences_are_taken_pair_by_pair_at_the_methods_own_cost():
    costs = np.array([[0.25, 0.75], [0.25, 0.75], [0.25, 0.75]])
    curves = np.array([[20.0, 30.0], [40.0, 60.0], [40.0, 60.0]])
    found = difference_at_equal_cost(np.array([0.5, 0.35, 0.9]), np.array([28.0, 43.0, 70.0]), costs, curves)
    assert found[:2] == pytest.approx([3, -1])
    assert np.isnan(found[2])


def test_pairing_takes_out_what_all_methods_share():
    # prompts of 20 to 50 dB, the method always 2 dB above the curve
    level = np.array([20.0, 30.0, 40.0, 50.0])
    costs = np.tile([0.4, 0.6], (4, 1))
    curves = level[:, None] + np.array([-1.0, 1.0])
    found = difference_at_equal_cost(np.full(4, 0.5), level + 2, costs, curves)
    assert mean_interval(found, np.arange(4)) == Interval(pytest.approx(2), pytest.approx(0, abs=1e-9), 4)
