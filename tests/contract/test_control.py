"""Networks that control a model: the host's own, small, with random weights."""

import comfy.cldm.mmdit
import comfy.controlnet
import comfy.ldm.flux.controlnet
import comfy.ops
import pytest
import torch

from cat_core.host.patcher import attach, last_report
from cat_core.settings import CATSettings
from contract import test_families, test_oracle
from contract.test_families import TOKENS
from small import CONFIGS, conditioning, noise_for, sample, small_model
from zoo import CASES
from zoo.flux import UNET

pytestmark = pytest.mark.host

IDLE = CATSettings(keep_ratio=0.0, warmup_steps=3, refresh_interval=2)


def network(transformer, extra_conds):
    """In the host's wrapper; its hint is a latent, which needs no autoencoder."""
    draw = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for weight in [*transformer.parameters(), *transformer.buffers()]:
            weight.copy_(0.08 * torch.randn(weight.shape, generator=draw))
    cpu = torch.device("cpu")
    return comfy.controlnet.ControlNet(transformer, compression_ratio=1, load_device=cpu, extra_conds=extra_conds)


def for_sd3():
    config = {**CONFIGS["sd3"], "num_blocks": 2, "depth": 2}
    shared = {"operations": comfy.ops.disable_weight_init, "dtype": torch.float32, "device": torch.device("cpu")}
    return network(comfy.cldm.mmdit.ControlNet(control_latent_channels=16, **config, **shared), ["y"])


def for_flux():
    kind = comfy.ldm.flux.controlnet.ControlNetFlux
    shared = {"operations": comfy.ops.disable_weight_init, "dtype": torch.float32, "device": torch.device("cpu")}
    transformer = kind(latent_input=True, control_latent_channels=16, guidance_embed=True, **UNET, **shared)
    return network(transformer, ["y", "guidance"])


NETWORKS = {"sd3": for_sd3, "flux": for_flux}


def wired(name, size, *parts):
    """Entries of a conditioning; for each part (strength, start, end) there is a network, one behind the other."""
    control, base = None, NETWORKS[name]()
    for number, (strength, start, end) in enumerate(parts):
        hint = noise_for(1, *size, seed=30 + number)
        following = base.copy().set_cond_hint(hint, strength, (start, end))
        following.set_previous_controlnet(control)
        control = following
    return {"control": control, "control_apply_to_uncond": True}


PARTS = {
    "one": [(1.0, 0.0, 1.0)],
    "one that ends": [(0.8, 0.0, 0.5)],
    "one that starts": [(0.8, 0.4, 1.0)],
    "two": [(1.0, 0.0, 1.0), (0.5, 0.2, 0.8)],
}


CHANGES = "in full: conditionings are evaluated together in another way than before"
REASONS = {"one that ends": [CHANGES], "one that starts": [CHANGES]}
"""A step where control comes or goes is in full: its calls are not those that were proved right."""


def against_oracle(name, parts, settings, size):
    control, reasons = wired(name, size, *PARTS[parts]), REASONS.get(parts, [])
    if name == "flux":
        return test_families.against_oracle(CASES["flux dev"], settings, 2, size, reasons=reasons, **control)
    prompts = {"positive": conditioning(1, **control), "negative": conditioning(2, **control)}
    return test_oracle.against_oracle(small_model(), settings, noise_for(2, *size), reasons=reasons, **prompts)


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_controlled_run_equals_the_dense_one(name, parts):
    assert against_oracle(name, parts, TOKENS, (12, 20)) < 1e-4


@pytest.mark.parametrize("settings", [TOKENS, IDLE], ids=["tokens", "idle"])
def test_control_changes_the_picture_and_is_not_ignored(settings):
    control = wired("sd3", (16, 16), *PARTS["one"])
    noise = noise_for(1, 16, 16)
    prompts = {"positive": conditioning(1, **control), "negative": conditioning(2, **control)}
    model = small_model()
    pruned = attach(model, settings)
    controlled = sample(pruned, noise, **prompts)
    assert last_report(pruned).reasons == []
    # it is nearer to the stock picture with control than to any without
    stock, plain = sample(model, noise, **prompts), sample(model, noise)
    assert (controlled - stock).norm() < 0.5 * (controlled - plain).norm()
    assert torch.equal(sample(attach(model, CATSettings(keep_ratio=1.0)), noise, **prompts), stock)
