"""The host's MultiGPU CFG Split: conditionings are evaluated in threads at once, by copies of the model, in one run."""

import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from comfy.hooks import create_hook_lora, set_hooks_for_conditioning
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers import set_torch_compile_wrapper

from cat_core.algorithm.branch import Branch
from cat_core.host import known
from cat_core.host.conditionings import Conditionings
from cat_core.host.journal import IDLE_INSTEAD
from cat_core.host.patcher import attach, last_report, reason_against_tokens
from cat_core.host.proof import Proof
from cat_core.host.pruning import Pruning
from cat_core.host.room import Room
from cat_core.host.run import Run
from cat_core.host.selections import Selections
from cat_core.settings import PRESETS
from contract.idle import relative_error
from contract.several import TOKENS, copies, share_out
from small import WIDTH, conditioning, noise_for, sample, small_model
from zoo import CASES

IDLE = replace(PRESETS["quality"], warmup_steps=2)
SETTINGS = {"idle": IDLE, "tokens": TOKENS}
PATIENCE = 60


@pytest.fixture
def several():
    return share_out(small_model)


@pytest.fixture(autouse=True)
def _known(monkeypatch):
    """Of other nodes, what wraps the model is not."""
    monkeypatch.setattr(known, "WRAPPERS", {*known.WRAPPERS, "meeting"})


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
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("lengths", [(7, 7), (9, 5)], ids=["alike", "unlike"])
def test_a_picture_of_several_devices_is_that_of_one(several, settings, batch, lengths):
    noise = noise_for(batch, 16, 16)
    prompts = {"positive": conditioning(1, lengths[0]), "negative": conditioning(2, lengths[1])}
    one = attach(small_model(), settings)
    expected = sample(one, noise, **prompts)
    came = meeting(several)
    pruned = attach(several, settings)
    pictures = [sample(pruned, noise, **prompts) for _ in range(5)]
    assert len(came) == 5 * 10 * 2
    assert len(set(came)) > 2, "other threads at every run"
    assert all(torch.equal(picture, pictures[0]) for picture in pictures)
    assert relative_error(pictures[0], expected) < 1e-5
    report = last_report(pruned)
    assert report.reasons == []
    assert [step.kind for step in report.steps] == [step.kind for step in last_report(one).steps]
    assert [len(step.calls) for step in report.steps] == [2] * 10
    assert bool(report.count("pruned")) == settings.selects_tokens


def test_the_model_computes_for_both_at_once(several):
    """The lock is not for the model: a thread that kept it would wait for the other in vain."""
    came = meeting(several, of_calls=False)
    pruned = attach(several, TOKENS)
    sample(pruned, noise_for(1, 16, 16))
    report = last_report(pruned)
    assert report.count("pruned") > 0
    proof = 1
    assert len(came) == 2 * (report.count("full") + proof + report.count("pruned"))


def test_left_to_itself_the_node_chooses_as_for_one_device(several):
    pruned = attach(several)
    sample(pruned, noise_for(1, 16, 16), steps=16)
    assert last_report(pruned).settings == PRESETS["balanced"]
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
        Pruning: ("needs_caches",),
        Room: ("follow", "find"),
        Proof: ("add",),
        Selections: ("add", "note_computed"),
        Branch: ("answer_full", "answer_pruned", "answer_idle"),
    }.items():
        for name in names:
            alone(owner, name)
    return met


@pytest.mark.parametrize("locked", [True, False])
def test_what_a_run_shares_is_for_one_thread_at_a_time(several, monkeypatch, locked):
    """And this would be seen: without the lock they do meet."""
    if not locked:
        begin = Conditionings.__init__

        def unlocked(self, *args, **kwargs):
            begin(self, *args, **kwargs)
            self.lock = nullcontext()

        monkeypatch.setattr(Conditionings, "__init__", unlocked)
    met = crowded(monkeypatch)
    meeting(several)
    sample(attach(several, TOKENS), noise_for(1, 16, 16))
    assert bool(met) != locked


def test_an_error_in_a_thread_reaches_the_user(several):
    def fail(*_):
        raise RuntimeError("of the second device")

    copies(several)[1].model.diffusion_model.register_forward_pre_hook(fail)
    pruned = attach(several, IDLE)
    with pytest.raises(RuntimeError, match="of the second device"):
        sample(pruned, noise_for(1, 16, 16))
    assert not last_report(pruned).finished


def hooked(seed, tokens):
    """A prompt with a LoRA of its own: the host changes each copy's weights for it."""
    draw = torch.Generator().manual_seed(4)
    lora = {}
    for block in range(3):
        layer = f"diffusion_model.joint_blocks.{block}.x_block.attn.qkv"
        lora[f"{layer}.lora_up.weight"] = 0.3 * torch.randn(3 * WIDTH, 4, generator=draw)
        lora[f"{layer}.lora_down.weight"] = 0.3 * torch.randn(4, WIDTH, generator=draw)
    return set_hooks_for_conditioning(conditioning(seed, tokens), create_hook_lora(lora, 1.0, 0.0))


PROMPTS = {
    "three": conditioning(1, 7) + conditioning(3, 9),
    "three alike": conditioning(1, 7) + conditioning(3, 7),
    "an area": conditioning(1, 7) + conditioning(3, 9, area=(8, 8, 2, 4), strength=1.0),
    "a hook": conditioning(1, 7) + hooked(3, 7),
    "one that starts late": conditioning(1, 7) + conditioning(3, 9, start_percent=0.4),
}


@pytest.mark.parametrize("devices", [2, 3])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_of_three_conditionings_too(prompt, devices):
    noise, positive = noise_for(1, 16, 16), PROMPTS[prompt]
    one, pruned = attach(small_model(), TOKENS), attach(share_out(small_model, devices), TOKENS)
    expected = sample(one, noise, positive=positive)
    assert relative_error(sample(pruned, noise, positive=positive), expected) < 1e-5
    report, alone = last_report(pruned), last_report(one)
    assert report.count("pruned") > 0
    assert [step.kind for step in report.steps] == [step.kind for step in alone.steps]
    assert report.clusters.shape == alone.clusters.shape
    plain = sample(small_model(), noise, positive=positive)
    assert relative_error(expected, plain) > 1e-3, "pruning that changes nothing proves nothing"


def test_without_cfg_there_is_nothing_to_share(several):
    noise = noise_for(1, 16, 16)
    expected = sample(attach(small_model(), TOKENS), noise, cfg=1.0)
    pruned = attach(several, TOKENS)
    assert torch.equal(sample(pruned, noise, cfg=1.0), expected)
    assert last_report(pruned).count("pruned") > 0


@pytest.mark.parametrize("name", ["flux dev", "wan t2v", "lumina 2", "pixart alpha", "ltx-2"])
def test_families(name):
    """By the host's slots, by hooks of each copy's own modules, with attention that cannot be overridden."""
    case = CASES[name]
    noise = case.noise(1, case.sizes["wide"])
    one, pruned = attach(case.build(), TOKENS), attach(share_out(case.build), TOKENS)
    expected = case.sample(one, noise)
    assert relative_error(case.sample(pruned, noise), expected) < 1e-5
    report = last_report(pruned)
    assert report.reasons == []
    assert report.count("pruned") == last_report(one).count("pruned") > 0


COMPILED = {
    "by the host's node": lambda model: set_torch_compile_wrapper(model, "eager"),
    "whole": lambda model: replace_compiled(model, "diffusion_model"),
    "block by block": lambda model: replace_compiled(model, "diffusion_model.joint_blocks.0"),
}


def replace_compiled(model, name):
    model.add_object_patch(name, torch.compile(model.get_model_object(name), backend="eager"))


@pytest.mark.parametrize("compiles", COMPILED.values(), ids=COMPILED)
def test_a_compiled_model_has_idle_steps(several, compiles, caplog):
    """What keeps compiled code away from one thread's call would do so in all, and end with any."""
    for model in (several, small_model()):
        compiles(model)
    assert reason_against_tokens(model) is None
    assert reason_against_tokens(several) == "several GPUs share a compiled model"
    attach(several, TOKENS)
    assert f"{IDLE_INSTEAD}: several GPUs share a compiled model" in caplog.text
