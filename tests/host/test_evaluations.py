"""What a sampler's evaluations tell: whether they are of one latent, and whether forecasts can be corrected."""

import pytest

from cat_core.algorithm.schedule import Schedule
from cat_core.algorithm.solver import Solver
from cat_core.host.evaluations import Evaluations
from cat_core.settings import CATSettings

SIGMAS, SHAPE = [1.0, 0.8, 0.6, 0.4, 0.2, 0.0], (1, 16, 8, 8)


@pytest.fixture
def evaluations():
    return Evaluations(Schedule(SIGMAS, CATSettings(warmup_steps=2)), Solver("is tested", evaluations=2), SHAPE)


@pytest.mark.parametrize(
    ("levels", "correcting"),
    [
        (SIGMAS[:-1], True),
        ([0.9995, *SIGMAS[1:-1]], True),  # some samplers move the first one
        ([1.0, 0.8, 0.8, 0.6], False),  # as Heun's method does
        ([1.0, 0.9, 0.8], False),  # between two steps
        ([1.0, 0.77, 0.6], False),  # told otherwise on the way
        ([1.0, 0.6, 0.8], False),
    ],
)
def test_corrections_want_one_evaluation_a_step_at_its_own_noise_level(evaluations, levels, correcting):
    assert [evaluations.begin(level, SHAPE) for level in levels] == [None] * len(levels)
    assert evaluations.correcting is correcting


def test_once_they_are_not_known_corrections_stay_so(evaluations):
    for level in (1.0, 0.9, 0.6, 0.4):
        evaluations.begin(level, SHAPE)
    assert not evaluations.correcting


def test_a_noise_level_may_come_as_often_as_the_sampler_evaluates_it(evaluations):
    assert [evaluations.begin(1.0, SHAPE) is None for _ in range(3)] == [True, True, False]


def test_another_shape_is_not_the_runs_latent(evaluations):
    assert "in parts" in evaluations.begin(1.0, (1, 16, 4, 4))


def test_warm_up_counts_evaluations(evaluations):
    assert [(evaluations.begin(level, SHAPE), evaluations.warming_up)[1] for level in (1.0, 0.4, 0.2)] == [
        True,
        True,
        False,
    ]
