"""Latents of sound, shape, and of sound and video in one: idle steps need no pictures, and no report fails on them."""

import logging
from dataclasses import replace

import comfy.latent_formats
import comfy.sample
import comfy.supported_models
import pytest
import torch
from comfy.nested_tensor import NestedTensor

import nodes
from cat_core.host.journal import IDLE_INSTEAD
from cat_core.host.patcher import attach, detach, last_report, report_of
from cat_core.host.preview import latent_preview
from cat_core.settings import PAPER, PRESETS
from cat_core.similarity import compare
from contract.idle import idle_instead, relative_error
from contract.oracle import Oracle
from zoo import CASES
from zoo.further import further_case

pytestmark = pytest.mark.host

IDLE = replace(PRESETS["quality"], warmup_steps=2)
TOKENS = replace(PAPER, warmup_steps=3)
NAMES = ["StableAudio", "ACEStep15", "Hunyuan3Dv2", "LTXAV"]
FLAT = NAMES[:-1]


def case_of(name):
    if not hasattr(comfy.supported_models, name):
        pytest.skip(f"this host has no {name}")
    return CASES["ltx-2"] if name == "LTXAV" else further_case(name)


def av_latent():
    """A video and its sound, put together by the host's own node."""
    import comfy_extras.nodes_lt

    video, sound = torch.zeros(1, 128, 2, 4, 4), torch.zeros(1, 8, 9, 16)
    return comfy_extras.nodes_lt.LTXVConcatAVLatent.execute({"samples": video}, {"samples": sound}).args[0]


def sampled(case, model, latent, steps=10):
    """The path of the host's KSampler node with a latent that may be nested."""
    prompts = [case.conditioning(seed, tokens=8) for seed in (1, 2)]
    with torch.no_grad():
        (out,) = nodes.common_ksampler(model, 5, steps, 4.0, "euler", "simple", *prompts, latent)
    return out["samples"]


@pytest.mark.parametrize("name", FLAT)
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("size", ["short", "odd"])
def test_idle_steps_of_a_latent_of_one_side_equal_the_dense_run(name, batch, size):
    case = case_of(name)
    model, noise = case.build(), case.noise(batch, case.sizes[size])
    pruned = attach(model, IDLE)
    sound = case.sample(pruned, noise)
    report = last_report(pruned)
    assert report.reasons == []
    assert report.count("idle") >= 2
    assert relative_error(sound, case.sample(Oracle(report, IDLE).attach(model), noise)) < 1e-5
    assert relative_error(sound, case.sample(model, noise)) > 1e-3


@pytest.mark.parametrize("name", FLAT)
def test_asked_for_tokens_they_have_idle_steps(name):
    case = case_of(name)
    noise = case.noise(1, case.sizes["short"])
    reason = idle_instead(case.build(), TOKENS, lambda model: case.sample(model, noise))
    assert reason.endswith("is not a supported diffusion transformer")


@pytest.mark.parametrize(("settings", "kind"), [(IDLE, "idle"), (TOKENS, "pruned")])
def test_steps_of_sound_and_video_in_one_equal_the_dense_run(settings, kind):
    case = case_of("LTXAV")
    model = case.build()
    pruned = attach(model, settings)
    both = sampled(case, pruned, av_latent())
    report = last_report(pruned)
    assert report.reasons == []
    assert report.count(kind) >= 2
    oracle = Oracle(report, settings, case.patch, case.behind, case.serves)
    dense = sampled(case, oracle.attach(model), av_latent())
    for part, right, stock in zip(*(x.unbind() for x in (both, dense, sampled(case, model, av_latent()))), strict=True):
        assert relative_error(part, right) < 1e-5
        assert relative_error(part, stock) > 1e-3


def test_asked_for_tokens_others_in_one_have_idle_steps():
    case = case_of("MiniMaxH3")
    noise = case.noise(1, case.sizes["both"])
    reason = idle_instead(case.build(), TOKENS, lambda model: case.sample(model, noise))
    assert reason == f"{IDLE_INSTEAD}: MiniMaxH3Model is not a supported diffusion transformer"


def told(pack, name, caplog):
    """Sample by the pack's own nodes, and let the report node look at what came out."""
    case = case_of(name)
    latent = av_latent() if name == "LTXAV" else {"samples": torch.zeros(1, 64, 24)}
    (model,) = pack["CATPruning"].execute(case.build(), True, preset="quality").args
    samples = sampled(case, model, latent, steps=16)
    assert "could not tell" not in caplog.text
    return model, samples


@pytest.mark.parametrize("name", NAMES)
def test_the_report_node_knows_the_run_that_made_such_a_latent(pack, name, caplog):
    model, samples = told(pack, name, caplog)
    latent, text, picture = pack["CATPruningReport"].execute(model, {"samples": samples}).args
    assert latent["samples"] is samples
    assert "idle" in text
    assert "did not make this latent" not in text
    assert picture.ndim == 4


@pytest.mark.parametrize("name", NAMES)
def test_the_report_node_tells_them_from_others(pack, name, caplog):
    model, samples = told(pack, name, caplog)
    other = NestedTensor([part + 1 for part in samples.unbind()]) if samples.is_nested else samples + 1
    assert "did not make this latent" in pack["CATPruningReport"].execute(model, {"samples": other}).args[1]
    if samples.is_nested:
        # a part of it, as the host's node takes it out
        video = {"samples": samples.unbind()[0]}
        assert "did not make this latent" in pack["CATPruningReport"].execute(model, video).args[1]


def test_a_nested_latent_is_found_among_several():
    case = case_of("LTXAV")
    pruned = attach(case.build(), IDLE)
    first = sampled(case, pruned, av_latent(), steps=10)
    second = sampled(case, pruned, av_latent(), steps=12)
    assert len(report_of(pruned, first).steps) == 10
    assert len(report_of(pruned, second).steps) == 12
    with pytest.raises(ValueError, match="does not carry CAT Pruning"):
        report_of(detach(pruned), second)


@pytest.mark.parametrize(
    "latent",
    [torch.zeros(1, 64, 24), NestedTensor([torch.zeros(1, 128, 2, 4, 4), torch.zeros(1, 8, 9, 16)])],
    ids=["one side", "nested"],
)
@pytest.mark.parametrize("name", ["Flux", "LTXV", "StableAudio1", "Hunyuan3Dv2"])
def test_what_is_no_picture_has_no_preview(name, latent):
    assert latent_preview(getattr(comfy.latent_formats, name)(), latent) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.zeros(1, 64, 24), torch.zeros(1, 64, 24)),
        (torch.zeros(1, 16, 16, 3), torch.zeros(16, 16, 3)),
        (NestedTensor([torch.zeros(1, 16, 16, 3)]), NestedTensor([torch.zeros(1, 16, 16, 3)])),
    ],
    ids=["sound", "no batch", "nested"],
)
def test_what_is_no_picture_is_not_compared(one, other):
    with pytest.raises(ValueError, match=r"^Only pictures"):
        compare(one, other)


def test_pictures_with_and_without_transparency_are_not_compared():
    with pytest.raises(ValueError, match="4 channels and 3"):
        compare(torch.zeros(1, 16, 16, 4), torch.zeros(1, 16, 16, 3))


def test_the_log_is_quiet_about_such_latents(caplog):
    caplog.set_level(logging.WARNING)
    case = case_of("Hunyuan3Dv2")
    case.sample(attach(case.build(), IDLE), case.noise(1, case.sizes["short"]))
    assert [record for record in caplog.records if "CAT Pruning" in record.getMessage()] == []
