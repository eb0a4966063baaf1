"""Every class of model that the host has: with the node its answer is right, and it says why no step is pruned."""

from dataclasses import replace

import comfy.supported_models
import pytest
import torch

from cat_core.host.architecture import find_family
from cat_core.host.journal import IDLE_INSTEAD
from cat_core.host.patcher import attach, last_report
from cat_core.settings import PRESETS
from contract.idle import relative_error
from contract.oracle import Oracle
from tools.checkpoints import IDLE_ONLY
from zoo import CASES
from zoo.further import TABLE, further_case

pytestmark = pytest.mark.host

NOT_SAMPLED = {"RT_DETR_v4", "SAM3", "SAM31", "DepthAnything3"}
"""They find things in pictures, without a sampler."""
SETTINGS = replace(PRESETS["balanced"], warmup_steps=2)
MODELS = {model.__name__: model for model in comfy.supported_models.models if model.__name__ not in NOT_SAMPLED}


def case_of(name):
    """The small model of exactly this class, or of a test's own variant of it."""
    if name in TABLE:
        return further_case(name)
    kinds = (
        case for case in CASES.values() if next(k for k in case.config.__mro__ if k in MODELS.values()) is MODELS[name]
    )
    return next(kinds, None)


@pytest.mark.parametrize("name", MODELS)
def test_it_gives_the_right_answer_and_says_what_it_did(name):
    case = case_of(name)
    assert case is not None, f"no small model of {name}: the host is newer than these tests"
    size = next(iter(case.sizes.values()))
    model, noise = case.build(), case.noise(1, size)
    pruned = attach(model, SETTINGS)
    answer, report = case.sample(pruned, noise), last_report(pruned)
    served = find_family(model.get_model_object("diffusion_model")) is not None
    assert served != any(name in classes for classes in IDLE_ONLY.values()), "see tools/checkpoints.py"
    assert report.count("idle") >= 2
    assert (report.count("pruned") >= 2) == served
    assert bool(report.reasons) != served
    assert all(reason.startswith(IDLE_INSTEAD) for reason in report.reasons)
    assert all(step.seconds is not None for step in report.steps)
    settings = SETTINGS if served else SETTINGS.without_tokens()
    dense = case.sample(Oracle(report, settings, case.patch, case.behind, case.serves, case.blind).attach(model), noise)
    parts = (case.split(latent, size) for latent in (answer, dense, case.sample(model, noise)))
    for part, right, stock in zip(*parts, strict=True):
        assert torch.isfinite(part).all()
        assert relative_error(part, right) < 1e-4
        assert relative_error(part, stock) > 1e-4, "idle steps that change nothing prove nothing"
