"""Compiled models: pruned steps happen, the picture is right, and nothing is compiled without end."""

import re
import shutil

import pytest
import torch
import torch._dynamo
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras import nodes_torch_compile

from cat_core.host.patcher import attach, last_report
from cat_core.settings import CATSettings
from graphs.host_graph import IDLE, TOKENS, relative
from small import noise_for, sample, small_model
from zoo import CASES

STEPS = 12
MOST_GRAPHS = {"sd3": 12, "flux": 6, "pixart": 6}
"""Of a whole run, a model compiled as a whole; the host's checkpoints part SD3's."""

pytestmark = pytest.mark.slow


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
    """A model, and what samples it, as the host runs nodes."""
    if name == "sd3":
        return small_model(), torch.inference_mode()(lambda model: sample(model, noise_for(2, 16, 16), steps=STEPS))
    case = CASES[{"flux": "flux dev", "pixart": "pixart sigma"}[name]]
    noise = case.noise(2, case.sizes["wide"])
    return case.build(), torch.inference_mode()(lambda model: case.sample(model, noise, steps=STEPS))


def hosts_node(model, backend):
    """TorchCompileModel, with all that it sets."""
    return nodes_torch_compile.TorchCompileModel.execute(model, backend)[0]


def block_by_block(model, backend, **options):
    """As KJNodes' TorchCompileModelAdvanced and its kin: every block by itself, by the host's function."""
    clone = model.clone()
    names = (name for name, _ in clone.get_model_object("diffusion_model").named_modules())
    blocks = [f"diffusion_model.{name}" for name in names if re.fullmatch(r"\w*blocks\.\d+", name)]
    assert len(blocks) >= 3
    set_torch_compile_wrapper(clone, keys=blocks, backend=backend, **options)
    return clone


def as_object_patch(model, backend):
    """As older nodes: the compiled model in the model's place."""
    clone = model.clone()
    transformer = clone.get_model_object("diffusion_model")
    clone.add_object_patch("diffusion_model", torch.compile(transformer, backend=backend))
    return clone


def assert_right(name, node, knobs, before, most):
    (model, run), settings, graphs = setup(name), CATSettings(**knobs), Graphs()
    plain = attach(model, settings)
    expected = run(plain)
    patched = attach(node(model, graphs), settings) if before else node(attach(model, settings), graphs)
    first = run(patched)
    report, seen = last_report(patched), graphs.count
    assert report.reasons == last_report(plain).reasons == []
    assert [step.kind for step in report.steps] == [step.kind for step in last_report(plain).steps]
    again = run(patched)
    assert 0 < seen <= most
    assert graphs.count == seen, "compiled again in the second run"
    for picture in (first, again):
        assert relative(picture, expected) < 1e-4
    return last_report(patched)


@pytest.mark.host
@pytest.mark.parametrize("name", MOST_GRAPHS)
@pytest.mark.parametrize("knobs", [TOKENS, IDLE], ids=["tokens", "idle"])
@pytest.mark.parametrize("before", [True, False])
def test_a_compiled_model_is_pruned_as_it_is(name, knobs, before):
    report = assert_right(name, hosts_node, knobs, before, MOST_GRAPHS[name])
    assert report.count("pruned" if knobs is TOKENS else "idle") >= 2


@pytest.mark.parametrize("name", MOST_GRAPHS)
@pytest.mark.parametrize("before", [True, False])
def test_so_is_a_model_whose_blocks_are_compiled(name, before):
    assert assert_right(name, block_by_block, TOKENS, before, 5 * MOST_GRAPHS[name]).count("pruned") >= 2


@pytest.mark.parametrize("name", MOST_GRAPHS)
def test_so_is_a_model_that_is_compiled_in_place(name):
    assert assert_right(name, as_object_patch, TOKENS, True, MOST_GRAPHS[name]).count("pruned") >= 2


@pytest.mark.skipif(not shutil.which("g++"), reason="the host's compiler needs a C++ compiler for the CPU")
def test_with_the_hosts_own_compiler():
    model, run = setup("flux")
    settings = CATSettings(**TOKENS)
    expected = run(attach(model, settings))
    patched = hosts_node(attach(model, settings), "inductor")
    for _ in range(2):
        assert relative(run(patched), expected) < 1e-3
        assert last_report(patched).reasons == []
        assert last_report(patched).count("pruned") >= 2
