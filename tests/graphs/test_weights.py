"""Models whose weights are changed, in other precisions, on their way between devices, or controlled by a network."""

import comfy.model_management
import folder_paths
import pytest
import torch
from safetensors.torch import save_file

from cat_core.host.patcher import attach, last_report
from cat_core.settings import CATSettings
from graphs.test_any_graph import IDLE, NEAR, TOKENS, Item, sampled
from small import WIDTH, noise_for, sample, small_model

SETTINGS = CATSettings(**TOKENS)
LAYERS = [f"joint_blocks.{i}.x_block.attn.qkv" for i in range(3)]
ROUNDED = {torch.float16: 0.1, torch.bfloat16: 0.15}
"""Relative distance of a pruned picture to the float32 one, at most: rounding may change which tokens are chosen."""

pytestmark = pytest.mark.usefixtures("pack")


@pytest.fixture(scope="module", autouse=True)
def _lora(tmp_path_factory):
    """A LoRA of every block's attention, in the host's list."""
    folder = tmp_path_factory.mktemp("loras")
    draw = torch.Generator().manual_seed(4)
    weights = {}
    for layer in LAYERS:
        weights[f"diffusion_model.{layer}.lora_up.weight"] = 0.3 * torch.randn(3 * WIDTH, 4, generator=draw)
        weights[f"diffusion_model.{layer}.lora_down.weight"] = 0.3 * torch.randn(4, WIDTH, generator=draw)
    save_file(weights, folder / "small.safetensors")
    folder_paths.add_model_folder_path("loras", str(folder))


def lora(wiring, model):
    return wiring("LoraLoaderModelOnly", model=model, lora_name="small.safetensors", strength_model=1.0)


def lora_after(wiring):
    wiring.sampled = lora(wiring, wiring.cat(wiring.model))
    return wiring.ksampler(wiring.sampled)


def merged(wiring, after):
    other = wiring("SmallModel", name="sd3", dtype="float32")
    first = wiring.cat(wiring.model) if after else wiring.model
    both = wiring("ModelMergeSimple", model1=lora(wiring, first), model2=other, ratio=0.5)
    wiring.sampled = both if after else wiring.cat(both)
    return wiring.ksampler(wiring.sampled)


def hooked(wiring, keyframes):
    hooks = wiring("CreateHookLora", lora_name="small.safetensors", strength_model=1.0, strength_clip=0.0)
    if keyframes:
        first = wiring("CreateHookKeyframe", strength_mult=1.0, start_percent=0.0)
        late = wiring("CreateHookKeyframe", strength_mult=0.2, start_percent=0.5, prev_hook_kf=first)
        hooks = wiring("SetHookKeyframes", hooks=hooks, hook_kf=late)
    pair = wiring(
        "PairConditioningSetProperties",
        positive_NEW=wiring.prompt(1),
        negative_NEW=wiring.prompt(2),
        strength=1.0,
        set_cond_area="default",
        hooks=hooks,
    )
    return wiring.ksampler(positive=pair, negative=pair[1])


def hooked_beside_plain(wiring):
    """Hook groups are evaluated apart."""
    hooks = wiring("CreateHookLora", lora_name="small.safetensors", strength_model=1.0, strength_clip=0.0)
    inputs = {"cond_NEW": wiring.prompt(5), "strength": 1.0, "set_cond_area": "default", "hooks": hooks}
    both = wiring(
        "ConditioningCombine",
        conditioning_1=wiring.prompt(),
        conditioning_2=wiring("ConditioningSetProperties", **inputs),
    )
    return wiring.ksampler(positive=both)


ITEMS = {
    "LoRA before": Item(lambda w: w.ksampler(w.cat(lora(w, w.model)))),
    "LoRA after": Item(lora_after),
    "merge before": Item(lambda w: merged(w, False)),
    "merge after": Item(lambda w: merged(w, True)),
    "LoRA hooks": Item(lambda w: hooked(w, False)),
    "LoRA hooks with keyframes": Item(lambda w: hooked(w, True)),
    "LoRA hooks on one of two prompts": Item(hooked_beside_plain),
}


@pytest.mark.parametrize("name", ITEMS)
def test_changed_weights_are_the_ones_that_are_pruned(name):
    stock, _ = sampled(ITEMS[name])
    assert torch.equal(sampled(ITEMS[name], {"keep_ratio": 1.0})[0], stock)
    plain, _ = sampled(Item(lambda w: w.ksampler()))
    assert not torch.equal(stock, plain)
    for knobs in (TOKENS, IDLE):
        pruned, report = sampled(ITEMS[name], knobs)
        assert report["reasons"] == []
        assert report["steps"]["pruned"] + report["steps"]["idle"] > 0
        assert 0 < float((pruned - stock).norm() / stock.norm()) < NEAR


@pytest.mark.parametrize("dtype", ROUNDED)
@pytest.mark.parametrize("name", ["sd3", "sd3.5"])
def test_models_in_half_precision_are_pruned_as_in_full_precision(name, dtype):
    noise = noise_for(2, 16, 16)
    exact = sample(attach(small_model(name), SETTINGS), noise)
    model = small_model(name, dtype=dtype)
    pruned = attach(model, SETTINGS)
    rounded = sample(pruned, noise)
    assert torch.equal(sample(attach(model, CATSettings(keep_ratio=1.0)), noise), sample(model, noise))
    assert last_report(pruned).reasons == []
    assert rounded.isfinite().all()
    assert float((rounded - exact).norm() / exact.norm()) < ROUNDED[dtype]


def in_eight_bits(name="sd3"):
    """Weights in eight bits, which the host casts for every layer."""
    model = small_model(name)
    model.model.manual_cast_dtype = torch.float32
    for module in model.model.diffusion_model.modules():
        if hasattr(module, "comfy_cast_weights"):
            module.comfy_cast_weights = True
            module.to(torch.float8_e4m3fn)
    return model


def test_weights_in_eight_bits_are_pruned():
    model, noise = in_eight_bits(), noise_for(1, 16, 16)
    pruned = attach(model, SETTINGS)
    picture = sample(pruned, noise)
    stock = sample(model, noise)
    assert last_report(pruned).reasons == []
    assert 0 < float((picture - stock).norm() / stock.norm()) < NEAR
    assert torch.equal(sample(attach(model, CATSettings(keep_ratio=1.0)), noise), stock)


def test_a_model_that_was_unloaded_between_runs_gives_the_same_picture():
    pruned, noise = attach(small_model(), SETTINGS), noise_for(1, 16, 16)
    first = sample(pruned, noise)
    comfy.model_management.unload_all_models()
    assert torch.equal(sample(pruned, noise), first)


class Halves:
    """What the host does where memory is short: every conditioning in a call of its own, at chosen evaluations."""

    def __init__(self, monkeypatch, apart):
        self.count, self.apart = 0, apart
        monkeypatch.setattr(comfy.model_management, "get_free_memory", self.free)

    def free(self, device=None, torch_free_too=False):
        return 0 if self.apart(self.count) else 10**12


@pytest.mark.parametrize("apart", [lambda n: True, lambda n: n % 2 == 1, lambda n: n > 4, lambda n: n < 6])
@pytest.mark.parametrize("knobs", [TOKENS, IDLE], ids=["tokens", "idle"])
def test_conditionings_that_memory_parts_give_the_same_picture(monkeypatch, apart, knobs):
    """Also where the split changes in mid-run."""
    # kept outside, caches do not ask for what is free here
    settings, noise = CATSettings(**knobs), noise_for(2, 16, 16)
    expected = sample(attach(small_model(), settings), noise)
    halves = Halves(monkeypatch, apart)
    model, calls = small_model(), []
    model.model.diffusion_model.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    monkeypatch.setattr("cat_core.host.memory.Place.reason_too_small", lambda *_: None)

    def next_evaluation(*_):
        halves.count += 1

    pruned = attach(model, settings)
    picture = sample(pruned, noise, callback=next_evaluation)
    assert 2 in calls
    assert last_report(pruned).reasons == []
    assert torch.allclose(picture, expected, rtol=1e-4, atol=1e-4)
