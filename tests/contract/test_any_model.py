"""Models without a family file: idle steps work, since they need the output alone, also in place of pruned ones."""

from dataclasses import replace

import pytest
import torch

from cat_core.host.journal import IDLE_INSTEAD
from cat_core.host.patcher import attach, last_report
from cat_core.settings import PRESETS
from contract.idle import idle_instead
from contract.oracle import Oracle
from zoo.further import further_case

pytestmark = pytest.mark.host

CASES = {"UNetModel": further_case("SD15"), "ACEStepTransformer2DModel": further_case("ACEStep")}
IDLE = replace(PRESETS["quality"], warmup_steps=2)


@pytest.fixture(params=CASES)
def name(request):
    return request.param


@pytest.mark.parametrize("size", ["square", "wide"])
def test_idle_steps_equal_the_dense_run(name, size):
    case = CASES[name]
    model, noise = case.build(), case.noise(2, case.sizes[size])
    pruned = attach(model, IDLE)
    picture = case.sample(pruned, noise)
    report = last_report(pruned)
    assert report.reasons == []
    assert report.count("idle") >= 2
    dense = case.sample(Oracle(report, IDLE, patch=(1, 1, 1)).attach(model), noise)
    assert float((picture - dense).norm() / dense.norm()) < 1e-5
    assert not torch.equal(picture, case.sample(model, noise))


def test_asked_for_tokens_they_have_idle_steps_and_say_so(name, caplog):
    case = CASES[name]
    noise = case.noise(1, case.sizes["square"])
    reason = idle_instead(case.build(), replace(PRESETS["balanced"], warmup_steps=2), lambda m: case.sample(m, noise))
    assert reason == f"{IDLE_INSTEAD}: {name} is not a supported diffusion transformer"
    assert reason in caplog.text


def test_left_to_itself_the_node_gives_them_idle_steps(name):
    case = CASES[name]
    pruned = attach(case.build())
    case.sample(pruned, case.noise(1, case.sizes["square"]), steps=16)
    report = last_report(pruned)
    assert report.settings == PRESETS["quality"]
    assert report.reasons == []
    assert report.count("idle") > 0
