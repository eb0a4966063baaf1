"""What a run does beside the picture: what it leaves behind, counts, says and never does."""

import gc
from dataclasses import replace

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop

from cat_core.caching.kv import KVCache
from cat_core.caching.noise import NoiseCache
from cat_core.host.patcher import attach, detach, last_report
from cat_core.host.run import Run
from cat_core.settings import PAPER, CATSettings
from small import CONFIGS, conditioning, noise_for, sample, small_model

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


def test_clones_of_other_nodes_prune_and_report_for_themselves():
    pruned = attach(small_model(), SETTINGS)
    clone = pruned.clone()
    sample(clone, noise_for(1, 16, 16))
    assert last_report(clone).count("pruned") > 0
    assert last_report(pruned) is None


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
    # two conditionings, of each two values and the corrector's two tensors of 8 x 8 tokens with 64 numbers and a sigma
    assert report.cache_bytes == 2 * 4 * 64 * (64 + 1) * 4


def test_a_prompt_that_starts_late_runs_in_full_until_its_caches_are_filled():
    late = conditioning(3, start_percent=0.5)
    pruned = attach(small_model(), replace(PAPER, warmup_steps=3))
    picture = sample(pruned, noise_for(1, 16, 16), positive=conditioning(1) + late)
    assert picture.isfinite().all()
    assert any("starts in the middle" in reason for reason in last_report(pruned).reasons)


def test_another_nodes_block_hooks_make_it_run_in_full():
    model, noise = small_model(), noise_for(1, 16, 16)

    def skip(args, extra):
        return args

    other = model.clone()
    other.set_model_patch_replace(skip, "dit", "double_block", 1)
    pruned = attach(other, SETTINGS)
    assert torch.equal(sample(pruned, noise), sample(other, noise))
    assert any("replaces transformer blocks" in reason for reason in last_report(pruned).reasons)


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


def test_an_unsupported_model_samples_as_without_the_node_and_says_why(caplog):
    model, noise = small_model(), noise_for(1, 16, 16)
    # a look-alike: same code, another class
    transformer = model.model.diffusion_model
    transformer.__class__ = type("SomeDiT", (type(transformer),), {})
    pruned = attach(model, SETTINGS)
    assert "SomeDiT is not a supported diffusion transformer" in caplog.text
    assert torch.equal(sample(pruned, noise), sample(model, noise))
    assert "SomeDiT is not a supported" in last_report(pruned).reasons[0]


@pytest.mark.parametrize("name", CONFIGS)
def test_reported_macs_equal_the_counted_ones(name):
    def sdpa(query, key, value, *_, out_shape=None, **__):
        return sdpa_flop(query, key, value)

    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    counter = FlopCounterMode(display=False, custom_mapping={attention: sdpa})
    pruned = attach(small_model(name), SETTINGS)
    with counter:
        sample(pruned, noise_for(2, 12, 14), negative=conditioning(2, tokens=5))
    flops = {str(op): count for op, count in counter.get_flop_counts()["Global"].items()}
    # matrix products of a batch (bmm) are the clustering's; the model's layers are all unbatched
    linear = sum(count for op, count in flops.items() if any(kind in op for kind in ("addmm", ".mm", "convolution")))
    report = last_report(pruned)
    assert report.macs(attention=False)[0] == linear // 2
    assert report.macs()[0] - linear // 2 == flops[str(attention)] // 2


class NoHostReads(TorchDispatchMode):
    """Fails on any operation that would make a GPU wait for Python, or whose result's shape depends on data."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "item", "is_nonzero", "equal")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in self.FORBIDDEN, name
        if name in ("index", "index_put_"):
            assert all(index is None or index.dtype != torch.bool for index in args[1]), f"{name} with a mask"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("step", ["_pruned", "_idle"])
@pytest.mark.parametrize("focus", [False, True])
def test_pruned_and_idle_steps_never_wait_for_the_device(monkeypatch, step, focus):
    original, calls = getattr(Run, step), []

    def watched(self, call):
        calls.append(call)
        with NoHostReads():
            return original(self, call)

    monkeypatch.setattr(Run, step, watched)
    mask = torch.eye(8).unsqueeze(0) if focus else None
    settings = replace(SETTINGS, focus_mask=mask, pruned_interval=2 if step == "_idle" else 1)
    sample(attach(small_model("sd3.5"), settings), noise_for(2, 16, 16))
    assert len(calls) >= 2


def test_no_host_reads_notices_one():
    with NoHostReads(), pytest.raises(AssertionError, match="_local_scalar_dense"):
        torch.ones(1).item()
