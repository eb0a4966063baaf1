"""Models whose weights are changed, in other precisions, on their way between devices, or controlled by a network."""

import comfy.model_management
import folder_paths
import pytest
import torch
from safetensors.torch import save_file

from cat_core.host.patcher import attach, last_report
from cat_core.settings import CATSettings
from graphs.host_graph import IDLE, TOKENS, dense, relative, side_by_side
from graphs.test_passes import NEAR, PLANNED, SAME, Item
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


PLAIN = Item(lambda w: w.ksampler(w.cat(w.model)))
ITEMS = {
    "LoRA before": Item(lambda w: w.ksampler(w.cat(lora(w, w.model)))),
    "LoRA after": Item(lora_after),
    "merge before": Item(lambda w: merged(w, False)),
    "merge after": Item(lambda w: merged(w, True)),
}


@pytest.mark.parametrize("name", ITEMS)
def test_changed_weights_are_the_ones_that_are_pruned(name):
    build = ITEMS[name].build
    whole, plain = (side_by_side(item, keep_ratio=1.0) for item in (build, PLAIN.build))
    assert torch.equal(whole.pruned, whole.stock)
    assert relative(whole.stock, plain.stock) > 0.01
    for kind, knobs in (("tokens", TOKENS), ("idle", IDLE)):
        side = side_by_side(build, **knobs)
        assert side.run.reasons == []
        assert side.kinds == PLANNED[kind]
        assert 1e-3 < side.difference < NEAR
        assert relative(side.pruned, dense(build, side.run, **knobs)) < SAME


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
