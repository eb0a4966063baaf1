"""Models without a family file: idle steps work, since they need the output alone, also in place of pruned ones."""

from dataclasses import replace

import comfy.supported_models
import pytest
import torch

from cat_core.host.journal import IDLE_INSTEAD
from cat_core.host.patcher import attach, last_report
from cat_core.settings import PRESETS
from contract.idle import idle_instead
from contract.oracle import Oracle
from zoo.case import Case

pytestmark = pytest.mark.host

UNET = Case(
    comfy.supported_models.SD15,
    {
        "image_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": 32,
        "num_res_blocks": [1, 1],
        "channel_mult": (1, 2),
        "transformer_depth": [1, 1],
        "transformer_depth_output": [1, 1, 1, 1],
        "transformer_depth_middle": 1,
        "use_spatial_transformer": True,
        "use_linear_in_transformer": False,
        "legacy": False,
        "context_dim": 48,
        "num_heads": 4,
        "num_head_channels": -1,
        "adm_in_channels": None,
    },
    channels=4,
    context=48,
)
ACE_STEP = Case(
    comfy.supported_models.ACEStep,
    {
        "audio_model": "ace",
        "num_layers": 2,
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "text_embedding_dim": 48,
    },
    channels=8,
    context=48,
    prompt={"conditioning_lyrics": torch.arange(1, 6).unsqueeze(0)},
    sizes={"square": (16, 24), "wide": (16, 40)},
)
CASES = {"UNetModel": UNET, "ACEStepTransformer2DModel": ACE_STEP}
IDLE = replace(PRESETS["quality"], warmup_steps=2)


@pytest.fixture(params=CASES)
def name(request):
    return request.param


@pytest.mark.parametrize("size", ["square", "wide"])
def test_idle_steps_equal_the_dense_run(name, size):
    case = CASES[name]
    model, noise = case.build(), case.noise(2, case.sizes[size])
    pruned = attach(model, IDLE)
    picture = case.sample(pruned, noise)
    report = last_report(pruned)
    assert report.reasons == []
    assert report.count("idle") >= 2
    dense = case.sample(Oracle(report, IDLE, patch=(1, 1, 1)).attach(model), noise)
    assert float((picture - dense).norm() / dense.norm()) < 1e-5
    assert not torch.equal(picture, case.sample(model, noise))


def test_asked_for_tokens_they_have_idle_steps_and_say_so(name, caplog):
    case = CASES[name]
    noise = case.noise(1, case.sizes["square"])
    reason = idle_instead(case.build(), replace(PRESETS["balanced"], warmup_steps=2), lambda m: case.sample(m, noise))
    assert reason == f"{IDLE_INSTEAD}: {name} is not a supported diffusion transformer"
    assert reason in caplog.text


def test_left_to_itself_the_node_gives_them_idle_steps(name):
    case = CASES[name]
    pruned = attach(case.build())
    case.sample(pruned, case.noise(1, case.sizes["square"]), steps=16)
    report = last_report(pruned)
    assert report.settings == PRESETS["quality"]
    assert report.reasons == []
    assert report.count("idle") > 0
