"""Compiled models: the same picture, and nothing is compiled anew once every kind of step has been seen."""

import pytest
import torch
import torch._dynamo
from comfy_api.torch_helpers import set_torch_compile_wrapper

from cat_core.host.patcher import attach, last_report
from cat_core.settings import CATSettings
from graphs.host_graph import IDLE, TOKENS
from small import noise_for, sample, small_model
from zoo import CASES

STEPS = 12
# graphs of a whole run: full steps with and without caches to fill, pruned ones; the host's checkpoints part SD3's
MOST_GRAPHS = {"sd3": 12, "flux": 6}


class Graphs:
    """A back end that compiles nothing and counts what it is given."""

    def __init__(self):
        self.count = 0

    def __call__(self, graph, inputs):
        self.count += 1
        return graph.forward


@pytest.fixture(autouse=True)
def _afresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def setup(name):
    """A model, and what samples it."""
    if name == "sd3":
        return small_model(), lambda model: sample(model, noise_for(2, 16, 16), steps=STEPS)
    case = CASES["flux dev"]
    return case.build(), lambda model: case.sample(model, case.noise(2, (12, 20)), steps=STEPS)


def compiled(model, backend):
    clone = model.clone()
    set_torch_compile_wrapper(clone, backend=backend)
    return clone


@pytest.mark.slow
@pytest.mark.parametrize("name", MOST_GRAPHS)
@pytest.mark.parametrize("knobs", [TOKENS, IDLE, {"keep_ratio": 1.0}], ids=["tokens", "idle", "all"])
@pytest.mark.parametrize("before", [True, False])
def test_a_compiled_model_is_pruned_as_it_is(name, knobs, before):
    model, run = setup(name)
    settings, graphs = CATSettings(**knobs), Graphs()
    expected = run(attach(model, settings))
    patched = attach(compiled(model, graphs), settings) if before else compiled(attach(model, settings), graphs)
    with torch.inference_mode():
        first = run(patched)
        seen = graphs.count
        again = run(patched)
    assert 0 < seen <= MOST_GRAPHS[name]
    assert graphs.count == seen, "compiled again in the second run"
    for picture in (first, again):
        assert float((picture - expected).norm() / expected.norm()) < 1e-4
    report = last_report(patched)
    if knobs.get("keep_ratio") != 1.0:
        assert report.reasons == []
        assert report.count("pruned") + report.count("idle") > 0


@pytest.mark.slow
def test_a_compiled_model_that_needs_module_hooks_keeps_to_idle_steps():
    case = CASES["pixart sigma"]
    model, noise, graphs = case.build(), case.noise(1, case.sizes["wide"]), Graphs()
    patched = attach(compiled(model, graphs))
    expected = case.sample(attach(model, CATSettings(keep_ratio=0.0, refresh_interval=2)), noise, steps=16)
    with torch.inference_mode():
        picture = case.sample(patched, noise, steps=16)
    assert graphs.count > 0
    assert last_report(patched).count("idle") > 0
    assert float((picture - expected).norm() / expected.norm()) < 1e-4
