"""On a GPU: graphs that are replayed, streams, weights that are loaded in part, memory that runs out."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch
from comfy import model_management
from comfy_api.torch_helpers import set_torch_compile_wrapper

from cat_core.host import room
from cat_core.host.journal import IDLE_INSTEAD
from cat_core.host.memory import Place
from cat_core.host.patcher import attach, last_report
from cat_core.settings import CATSettings
from contract.idle import relative_error
from contract.oracle import Oracle
from devices import TOLERANCE
from small import noise_for, sample, small_model
from zoo import CASES

SETTINGS = CATSettings(keep_ratio=0.3, pruned_interval=2, warmup_steps=3, refresh_interval=4, final_full_steps=1)
EXACT = TOLERANCE[torch.float32]


def run(model, **sampling):
    """The picture of a small model, which must be pruned and idle for no other reason than its settings."""
    picture = sample(model, noise_for(2, 16, 16), **sampling)
    report = last_report(model)
    assert report.reasons == report.notes == []
    assert report.count("pruned") >= 2
    assert report.count("idle") >= 1
    return picture


def test_a_model_may_answer_in_the_same_memory_every_time():
    """As graphs that are replayed do."""
    expected, model, buffers = run(attach(small_model(), SETTINGS)), small_model(), {}

    def reuse(module, arguments, answer):
        return buffers.setdefault(answer.shape, torch.empty_like(answer)).copy_(answer)

    model.model.diffusion_model.register_forward_hook(reuse)
    assert torch.equal(run(attach(model, SETTINGS)), expected)
    assert buffers


def test_weights_may_be_loaded_in_part(monkeypatch):
    """As where they do not fit: the host brings the others to the GPU for every call."""
    expected, model = run(attach(small_model(), SETTINGS)), small_model()
    load = model_management.LoadedModel.model_load

    def load_half(loaded, memory=0, **options):
        return load(loaded, loaded.model.model_size() // 2, **options)

    monkeypatch.setattr(model_management.LoadedModel, "model_load", load_half)
    assert relative_error(run(attach(model, SETTINGS)), expected) < EXACT
    assert model.model.model_lowvram


@pytest.mark.cuda
def test_a_model_in_cuda_graphs_is_pruned_as_it_is():
    expected = run(attach(small_model(), SETTINGS))
    model = attach(small_model(), SETTINGS)
    set_torch_compile_wrapper(model, backend="inductor", mode="reduce-overhead")
    for _ in range(3):  # the first two runs record, the third replays
        assert relative_error(run(model), expected) < 1e-3  # fused operations round elsewhere


@pytest.mark.cuda
def test_two_runs_on_streams_of_their_own_do_not_meet():
    models = [attach(small_model(seed=seed), SETTINGS) for seed in (0, 1)]
    expected = [run(model) for model in models]

    def on_a_stream(model):
        with torch.cuda.stream(torch.cuda.Stream()):
            return run(model)

    with ThreadPoolExecutor(2) as threads:
        for picture, alone in zip(threads.map(on_a_stream, models), expected, strict=True):
            assert relative_error(picture, alone) < EXACT


@contextmanager
def memory_for(more):
    """As much of the GPU's memory as was taken at most until now, and ``more`` bytes."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.max_memory_reserved() + more) / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.cuda
def test_where_the_gpu_runs_out_of_memory_for_caches_there_are_idle_steps(monkeypatch):
    """Half of the caches fits beside what the unpatched model takes, and the only place for them is the GPU."""
    monkeypatch.setattr(room, "list_places", lambda settings: [Place(None, None)])
    case = CASES["flux dev"]
    model, noise = case.build(), case.noise(4, (128, 128))
    pruned = attach(model, SETTINGS)
    case.sample(pruned, noise)
    caches = last_report(pruned).cache_bytes
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    case.sample(model, noise)
    with memory_for(caches // 2):
        picture = case.sample(pruned, noise)
    report = last_report(pruned)
    (reason,) = report.reasons
    assert reason.startswith(IDLE_INSTEAD)
    assert "memory ran out" in reason
    assert report.count("pruned") == 0
    assert report.count("idle") >= 1
    dense = case.sample(Oracle(report, SETTINGS, serves=lambda _: False).attach(model), noise)
    assert relative_error(picture, dense) < EXACT
