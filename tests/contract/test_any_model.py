"""Models without a family file: idle steps work, since they need the output alone; pruned ones are refused."""

from dataclasses import replace

import comfy.supported_models
import pytest
import torch

from cat_core.host.patcher import attach, last_report
from cat_core.settings import PRESETS
from contract.oracle import Oracle
from zoo.case import Case

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
IDLE = replace(PRESETS["quality"], warmup_steps=2)


@pytest.mark.parametrize("size", [(16, 16), (8, 24)])
def test_idle_steps_of_a_unet_equal_the_dense_run(size):
    model, noise = UNET.build(), UNET.noise(2, size)
    pruned = attach(model, IDLE)
    picture = UNET.sample(pruned, noise)
    report = last_report(pruned)
    assert report.reasons == []
    assert report.count("idle") >= 2
    dense = UNET.sample(Oracle(report, IDLE, patch=(1, 1, 1)).attach(model), noise)
    assert float((picture - dense).norm() / dense.norm()) < 1e-5
    assert not torch.equal(picture, UNET.sample(model, noise))


def test_a_unet_asked_for_tokens_samples_as_without_the_node_and_says_what_works(caplog):
    model, noise = UNET.build(), UNET.noise(1, (16, 16))
    pruned = attach(model, PRESETS["balanced"])
    assert torch.equal(UNET.sample(pruned, noise), UNET.sample(model, noise))
    (reason,) = last_report(pruned).reasons
    assert "UNetModel is not a supported" in reason
    assert "quality" in reason
    assert reason in caplog.text
