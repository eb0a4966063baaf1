"""What a run does beside the picture: what it leaves behind, counts, says and never does."""

import gc
import sys
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop

from cat_core.algorithm.noise import NoiseCache
from cat_core.algorithm.selection import Selector
from cat_core.caching.kv import KVCache
from cat_core.host.journal import IDLE_INSTEAD
from cat_core.host.patcher import attach, detach, last_report, report_of
from cat_core.host.run import Run
from cat_core.host.selections import Selections
from cat_core.settings import PAPER, CATSettings
from contract.oracle import Oracle
from small import CONFIGS, conditioning, noise_for, sample, small_model
from zoo import CASES

SETTINGS = CATSettings(keep_ratio=0.3, pruned_interval=1, warmup_steps=3, refresh_interval=3, final_full_steps=1)


def held_state() -> list:
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, Run | KVCache | NoiseCache)]


def test_after_a_run_nothing_is_held():
    pruned = attach(small_model(), SETTINGS)
    sample(pruned, noise_for(1, 16, 16))
    assert held_state() == []
    tensors = [value for value in vars(last_report(pruned)).values() if isinstance(value, torch.Tensor)]
    assert tensors == []


def test_after_a_full_step_no_token_is_stale(monkeypatch):
    select, fresh = Selector.select, []

    def watched(selector, *noises):
        fresh.append(selector.frequency is None)
        return select(selector, *noises)

    monkeypatch.setattr(Selector, "select", watched)
    pruned = attach(small_model(), SETTINGS)
    sample(pruned, noise_for(1, 16, 16))
    kinds = [step.kind for step in last_report(pruned).steps]
    assert kinds.count("pruned") > fresh.count(True) > 1
    assert fresh == [before == "full" for before, kind in pairwise(kinds) if kind == "pruned"]


class PlannedError(Exception):
    pass


@pytest.mark.parametrize("step", [1, 4, 5])
def test_an_error_reaches_the_user_unhidden_and_the_next_run_is_right(step):
    model, noise = small_model(), noise_for(1, 16, 16)
    pruned = attach(model, SETTINGS)
    expected = sample(pruned, noise)

    def fail(number, *_):
        if number == step:
            raise PlannedError

    with pytest.raises(PlannedError):
        sample(pruned, noise, callback=fail)
    assert not last_report(pruned).finished
    assert held_state() == []
    assert torch.equal(sample(pruned, noise), expected)


def test_the_model_itself_is_not_changed_by_attaching():
    model, noise = small_model(), noise_for(1, 16, 16)
    before = sample(model, noise)
    pruned = attach(model, SETTINGS)
    sample(pruned, noise)
    assert torch.equal(sample(model, noise), before)
    assert torch.equal(sample(detach(pruned), noise), before)


def test_attached_twice_the_last_settings_win():
    model, noise = small_model(), noise_for(1, 16, 16)
    once = attach(model, PAPER)
    twice = attach(attach(model, SETTINGS), PAPER)
    assert torch.equal(sample(once, noise), sample(twice, noise))
    assert last_report(twice).settings == PAPER


def test_clones_of_other_nodes_prune_and_their_reports_are_the_models():
    """The host clones even inside a sampler: a report must be found by the model that the node gave."""
    pruned = attach(small_model(), SETTINGS)
    clone = pruned.clone()
    first, second = sample(clone, noise_for(1, 16, 16)), sample(pruned, noise_for(1, 16, 16, seed=5))
    for model in (pruned, clone):
        assert report_of(model, first).count("pruned") > 0
        assert report_of(model, first) is not report_of(model, second)
        assert last_report(model) is report_of(model, second)
    assert last_report(attach(pruned, SETTINGS)) is None


def test_a_second_run_at_another_size_and_batch_is_as_if_alone():
    model = small_model()
    pruned = attach(model, SETTINGS)
    sample(pruned, noise_for(1, 16, 16))
    again = sample(pruned, noise_for(2, 12, 20))
    assert torch.equal(again, sample(attach(model, SETTINGS), noise_for(2, 12, 20)))


@pytest.mark.parametrize("keep", [0.3, 0.0])
def test_a_picture_of_a_batch_equals_the_picture_alone(keep):
    settings = replace(SETTINGS, keep_ratio=keep)
    together = sample(attach(small_model(), settings), noise_for(3, 12, 14))
    for i in range(3):
        alone = sample(attach(small_model(), settings), noise_for(1, 12, 14, seed=1 + i))
        assert torch.allclose(together[i : i + 1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpm_2", "dpmpp_2m", "euler_ancestral", "dpmpp_sde", "uni_pc"])
@pytest.mark.parametrize("keep", [0.3, 0.0])
def test_samplers_run_to_a_finite_picture(sampler, keep):
    pruned = attach(small_model(), replace(SETTINGS, keep_ratio=keep))
    assert sample(pruned, noise_for(1, 12, 14), sampler=sampler).isfinite().all()
    report = last_report(pruned)
    assert report.count("pruned") + report.count("idle") > 0


def test_idle_steps_do_not_call_the_model_and_keep_no_keys():
    model, noise = small_model(), noise_for(1, 16, 16)
    calls = []
    handle = model.model.diffusion_model.register_forward_pre_hook(lambda *_: calls.append(1))
    pruned = attach(model, CATSettings(keep_ratio=0.0, warmup_steps=3, refresh_interval=2, final_full_steps=1))
    sample(pruned, noise)
    handle.remove()
    report = last_report(pruned)
    assert report.count("idle") == 3
    assert len(calls) == report.count("full")
    # two conditionings, of each 8 x 8 tokens of 64 numbers: the value before the last one by itself, and the last two
    # values and the corrector's two tensors with a sigma
    assert report.cache_bytes == 2 * 64 * (64 + 4 * (64 + 1)) * 4


def test_a_prompt_that_starts_late_runs_in_full_until_its_caches_are_filled():
    late = conditioning(3, start_percent=0.5)
    pruned = attach(small_model(), replace(PAPER, warmup_steps=3))
    picture = sample(pruned, noise_for(1, 16, 16), positive=conditioning(1) + late)
    assert picture.isfinite().all()
    assert any("starts in the middle" in reason for reason in last_report(pruned).reasons)


def idle_in_place_of_pruned(model, pruned, noise):
    """Sample; check that the picture is that of idle steps, and return why."""
    picture = sample(pruned, noise)
    report = last_report(pruned)
    assert report.count("pruned") == 0
    assert report.count("idle") >= 2
    dense = sample(Oracle(report, SETTINGS.without_tokens()).attach(model), noise)
    assert float((picture - dense).norm() / dense.norm()) < 1e-4
    (reason,) = report.reasons
    return reason.removeprefix(f"{IDLE_INSTEAD}: ")


def test_beside_another_nodes_block_hooks_there_are_idle_steps_in_place_of_pruned_ones():
    model, noise = small_model(), noise_for(1, 16, 16)

    def skip(args, extra):
        return args

    other = model.clone()
    other.set_model_patch_replace(skip, "dit", "double_block", 1)
    pruned = attach(other, SETTINGS)
    assert idle_in_place_of_pruned(other, pruned, noise) == "another node replaces transformer blocks"


def test_a_refresh_that_another_node_answers_is_made_up_for():
    """As LazyCache does: the model is not asked at step 5, a refresh."""
    model, noise = small_model(), noise_for(1, 16, 16)
    answers = {}

    def answer(executor, x, timestep, *args, **kwargs):
        step = len(answers)
        answers[step] = answers[step - 1] if step == 5 else executor(x, timestep, *args, **kwargs)
        return answers[step]

    settings = replace(SETTINGS, refresh_interval=2)
    other = model.clone()
    other.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "other", answer)
    pruned = attach(other, settings)
    planned = attach(model, settings)
    sample(planned, noise)
    sample(pruned, noise)
    planned_kinds, kinds = ([step.kind for step in last_report(run).steps] for run in (planned, pruned))
    assert planned_kinds[4:8] == ["pruned", "full", "pruned", "full"]
    # it does not know of the step that was answered
    assert kinds[4:7] == ["pruned", "full", "full"]
    assert len(kinds) == len(planned_kinds) - 1
    assert "answered by another node" in last_report(pruned).text()


def test_a_previous_attention_override_is_still_called():
    model, calls = small_model(), []

    def other(func, *args, **kwargs):
        calls.append(args[0].shape[1])
        return func(*args, **kwargs)

    model.model_options["transformer_options"]["optimized_attention_override"] = other
    sample(attach(model, SETTINGS), noise_for(1, 16, 16))
    assert {71, 7 + 19} <= set(calls)  # full, and 30 % of 64 tokens


def test_too_few_steps_sample_as_without_the_node_and_say_why():
    model, noise = small_model(), noise_for(1, 16, 16)
    pruned = attach(model, replace(SETTINGS, warmup_steps=8))
    assert torch.equal(sample(pruned, noise, steps=4), sample(model, noise, steps=4))
    assert "4 steps" in last_report(pruned).reasons[0]


def test_an_unsupported_model_has_idle_steps_in_place_of_pruned_ones_and_says_why(caplog):
    model, noise = small_model(), noise_for(1, 16, 16)
    # a look-alike: same code, another class
    transformer = model.model.diffusion_model
    transformer.__class__ = type("SomeDiT", (type(transformer),), {})
    pruned = attach(model, SETTINGS)
    reason = "SomeDiT is not a supported diffusion transformer"
    assert reason in caplog.text
    assert idle_in_place_of_pruned(model, pruned, noise) == reason


@pytest.mark.parametrize("name", CONFIGS)
def test_reported_macs_equal_the_counted_ones(name):
    def sdpa(query, key, value, *_, out_shape=None, **__):
        return sdpa_flop(query, key, value)

    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    counter = FlopCounterMode(display=False, custom_mapping={attention: sdpa})
    # propagation multiplies matrices too, inside the model's attention
    model = small_model(name)
    pruned = attach(model, replace(SETTINGS, propagation=0.0))
    with counter:
        sample(pruned, noise_for(2, 12, 14), negative=conditioning(2, tokens=5))
    flops = counter.get_flop_counts()[type(model.model.diffusion_model).__name__]
    attended = flops.pop(attention) // 2
    # 21 of the 42 tokens are computed once more for the proof, beside either prompt
    proof = [(42, 21, text) for text in (7, 5)]
    report = last_report(pruned)
    linear = report.macs(attention=False)[0]
    assert linear + 2 * sum(report.cost.linear(*call) for call in proof) == sum(flops.values()) // 2
    assert report.macs()[0] - linear + 2 * sum(report.cost.attention(*call) for call in proof) == attended


class NoReadsByOperation(TorchDispatchMode):
    """Fails on any operation that would make a GPU wait for Python, or whose result's shape depends on data."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "item", "is_nonzero", "equal")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if of_the_pack():
            assert name not in self.FORBIDDEN, name
            if name in ("index", "index_put_"):
                assert all(index is None or index.dtype != torch.bool for index in args[1]), f"{name} with a mask"
        result = func(*args, **(kwargs or {}))
        if name in ("_to_copy", "copy_") and of_the_pack():
            assert {result.device} == {tensor.device for tensor in args[:2] if isinstance(tensor, torch.Tensor)}, name
        return result


class NoReadsByName(TorchFunctionMode):
    """Fails on what brings a tensor to where Python is: of one that lies there already torch shows no operation."""

    FORBIDDEN = (torch.Tensor.cpu, torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.item, torch.Tensor.__bool__)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if of_the_pack():
            assert func not in self.FORBIDDEN, func.__name__
            # a device by name is no device of another tensor
            assert func is not torch.Tensor.to or "cpu" not in [*args[1:], *(kwargs or {}).values()], "to cpu"
        return func(*args, **(kwargs or {}))


def of_the_pack() -> bool:
    """Whether the pack, or a test, and not the host asks for what is going on."""
    frame = sys._getframe(2)
    while frame is not None:
        if folder := next((part for part in ("cat_core", "comfy") if part in Path(frame.f_code.co_filename).parts), 0):
            return folder == "cat_core"
        frame = frame.f_back
    return True


@contextmanager
def no_host_reads():
    with NoReadsByOperation(), NoReadsByName():
        yield


STEPS = {kind: (Run, f"_answer_{kind}") for kind in ("full", "pruned", "idle")} | {"choice": (Selections, "choose")}


def watch(monkeypatch, step):
    """Let a part of a step fail if it reads; returns the list of its calls."""
    owner, name = STEPS[step]
    original, calls = getattr(owner, name), []

    def watched(self, *args):
        calls.append(args)
        with no_host_reads():
            return original(self, *args)

    monkeypatch.setattr(owner, name, watched)
    return calls


# a focus mask is counted when its conditioning is first met, at a full step: it lies on the CPU, as the user gave it
@pytest.mark.parametrize(
    ("step", "focus"), [*((step, False) for step in STEPS), ("choice", True), ("pruned", True), ("idle", True)]
)
def test_no_step_waits_for_the_device(monkeypatch, step, focus):
    """The proof, too, is read at the step behind it alone, see ``test_proof.py``."""
    calls = watch(monkeypatch, step)
    mask = torch.eye(8).unsqueeze(0) if focus else None
    settings = replace(SETTINGS, focus_mask=mask, pruned_interval=2 if step == "idle" else 1)
    pruned = attach(small_model("sd3.5"), settings)
    sample(pruned, noise_for(2, 16, 16))
    assert last_report(pruned).reasons == []
    assert len(calls) >= 2


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", CASES)
def test_no_family_waits_for_the_device(monkeypatch, name, step):
    calls, case = watch(monkeypatch, step), CASES[name]
    pruned = attach(case.build(), replace(SETTINGS, pruned_interval=2 if step == "idle" else 1))
    case.sample(pruned, case.noise(1, case.sizes["wide"]))
    assert last_report(pruned).reasons == []
    assert len(calls) >= 2


READS = {
    "item": lambda tensor: tensor.item(),
    "bool": bool,
    "cpu": lambda tensor: tensor.cpu(),
    "to": lambda tensor: tensor.to("cpu"),
    "tolist": lambda tensor: tensor.tolist(),
    "another device": lambda tensor: tensor.to("meta"),
    "copied": lambda tensor: torch.empty(1, device="meta").copy_(tensor),
    "mask": lambda tensor: tensor[tensor > 0],
    "nonzero": lambda tensor: tensor.nonzero(),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_reads_are_noticed(read):
    tensor = torch.ones(1)
    with no_host_reads(), pytest.raises(AssertionError):
        read(tensor)
