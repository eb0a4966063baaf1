"""The host's MultiGPU CFG Split: conditionings are evaluated in threads at once, by copies of the model, in one run.

The host's own threads and copies; both of its devices are the CPU, which ``cpu`` and ``cpu:0`` are two names of.
"""

import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import replace

import comfy.model_patcher
import pytest
import torch
from comfy.patcher_extension import WrappersMP

from cat_core.algorithm.branch import Branch
from cat_core.host.journal import IDLE_INSTEAD
from cat_core.host.patcher import attach, last_report
from cat_core.host.pruning import Pruning
from cat_core.host.run import Run
from cat_core.settings import PAPER, PRESETS
from contract.idle import relative_error
from small import conditioning, noise_for, sample, small_model

IDLE = replace(PRESETS["quality"], warmup_steps=2)
TOKENS = replace(PAPER, warmup_steps=3)
PATIENCE = 60
REASON = f"{IDLE_INSTEAD}: several GPUs share the conditionings"

if not hasattr(comfy.model_patcher.ModelPatcher, "deepclone_multigpu"):
    pytest.skip("this host has no MultiGPU CFG Split", allow_module_level=True)


@pytest.fixture
def several():
    """A model as the host's node leaves it, for two devices."""
    model = small_model()
    model.cached_patcher_init = small_model, ()
    copy = model.deepclone_multigpu(torch.device("cpu", 0))
    copy.is_multigpu_base_clone = True
    model.set_additional_models("multigpu", [copy])
    return model


def copies(model):
    return [model, *model.get_additional_models_with_key("multigpu")]


def meeting(model, of_calls=True):
    """Let both conditionings' calls begin together, idle ones too, or both be inside their copies of the model.

    Returns the names of the threads that came. Where one of them waits for the other's end there is an error.
    """
    barrier, came = threading.Barrier(2), []

    def meet(*_):
        came.append(threading.current_thread().name)
        barrier.wait(PATIENCE)

    def wrapped(executor, *args, **kwargs):
        meet()
        return executor(*args, **kwargs)

    if of_calls:
        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "meeting", wrapped)
    else:
        for copy in copies(model):
            copy.model.diffusion_model.register_forward_pre_hook(meet)
    return came


@pytest.fixture
def hasty():
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("lengths", [(7, 7), (9, 5)], ids=["alike", "unlike"])
def test_idle_steps_in_threads_equal_those_of_one_device(several, batch, lengths):
    noise = noise_for(batch, 16, 16)
    prompts = {"positive": conditioning(1, lengths[0]), "negative": conditioning(2, lengths[1])}
    one = attach(small_model(), IDLE)
    expected = sample(one, noise, **prompts)
    came = meeting(several)
    pruned = attach(several, IDLE)
    pictures = [sample(pruned, noise, **prompts) for _ in range(5)]
    assert len(came) == 5 * 10 * 2
    assert len(set(came)) > 2, "other threads at every run"
    assert all(torch.equal(picture, pictures[0]) for picture in pictures)
    assert relative_error(pictures[0], expected) < 1e-5
    report = last_report(pruned)
    assert report.reasons == []
    assert [step.kind for step in report.steps] == [step.kind for step in last_report(one).steps]
    assert [len(step.calls) for step in report.steps] == [2] * 10


def test_full_steps_are_computed_at_once(several):
    """The lock is not for the model: a thread that kept it would wait for the other in vain."""
    came = meeting(several, of_calls=False)
    pruned = attach(several, IDLE)
    sample(pruned, noise_for(1, 16, 16))
    assert len(came) == 2 * last_report(pruned).count("full")


def test_asked_for_tokens_there_are_idle_steps(several, caplog):
    noise = noise_for(1, 16, 16)
    expected = sample(attach(small_model(), TOKENS.without_tokens()), noise)
    meeting(several)
    pruned = attach(several, TOKENS)
    assert REASON in caplog.text
    assert relative_error(sample(pruned, noise), expected) < 1e-5
    report = last_report(pruned)
    assert report.reasons == [REASON]
    assert report.count("pruned") == 0
    assert report.count("idle") >= 2


def test_left_to_itself_the_node_gives_them_idle_steps(several):
    pruned = attach(several)
    sample(pruned, noise_for(1, 16, 16), steps=16)
    assert last_report(pruned).settings == PRESETS["quality"]
    assert last_report(pruned).reasons == []


def crowded(monkeypatch):
    """Whether ever two threads were in what a run shares; each stays there long enough to be met."""
    inside, met = [], []

    def alone(owner, name):
        original = getattr(owner, name)

        def call(*args, **kwargs):
            ours = threading.get_ident()
            met.extend(other for other in inside if other != ours)
            inside.append(ours)
            time.sleep(0.002)
            try:
                return original(*args, **kwargs)
            finally:
                inside.remove(ours)

        monkeypatch.setattr(owner, name, call)

    for owner, names in {
        Run: ("_find_kind", "_add", "_count"),
        Pruning: ("needs_caches", "refresh"),
        Branch: ("answer_full", "answer_idle"),
    }.items():
        for name in names:
            alone(owner, name)
    return met


@pytest.mark.parametrize("locked", [True, False])
def test_what_a_run_shares_is_for_one_thread_at_a_time(several, monkeypatch, locked):
    """And this would be seen: without the lock they do meet."""
    if not locked:
        begin = Run.__init__

        def unlocked(self, *args, **kwargs):
            begin(self, *args, **kwargs)
            self.lock = nullcontext()

        monkeypatch.setattr(Run, "__init__", unlocked)
    met = crowded(monkeypatch)
    meeting(several)
    sample(attach(several, IDLE), noise_for(1, 16, 16))
    assert bool(met) != locked


def test_an_error_in_a_thread_reaches_the_user(several):
    def fail(*_):
        raise RuntimeError("of the second device")

    copies(several)[1].model.diffusion_model.register_forward_pre_hook(fail)
    pruned = attach(several, IDLE)
    with pytest.raises(RuntimeError, match="of the second device"):
        sample(pruned, noise_for(1, 16, 16))
    assert not last_report(pruned).finished
