"""A video and its sound: the video's tokens are pruned, the sound is computed whenever any of them is."""

from dataclasses import replace

import comfy.sampler_helpers
import comfy_extras.nodes_lt
import pytest
import torch
from comfy.nested_tensor import NestedTensor

from cat_core.algorithm.schedule import StepKind
from cat_core.caching.kv import KVCache
from cat_core.host.architecture import find_family
from cat_core.host.journal import IDLE_INSTEAD
from cat_core.host.patcher import attach, last_report
from cat_core.settings import PAPER
from contract.idle import idle_instead
from contract.test_arguments import GUIDE, key_frames
from contract.test_families import against_oracle
from zoo import CASES
from zoo.case import Case

pytestmark = [pytest.mark.host, pytest.mark.skipif("ltx-2" not in CASES, reason="this host has no LTX-2")]

TOKENS = replace(PAPER, warmup_steps=3)
TEXT = 7


@pytest.fixture(params=[name for name in CASES if name.startswith("ltx-2")])
def case(request):
    return CASES[request.param]


def mask(size, frames=1.0, rows=1.0, sound=1.0):
    """How much of the first frame, of the first rows of every frame, and of the sound's beginning is made."""
    video, heard = (torch.ones(1, 1, *shape[1:]) for shape in size)
    video[:, :, 0] *= frames
    video[:, :, :, :2] *= rows
    heard[:, :, :3] *= sound
    return NestedTensor([video, heard])


@pytest.mark.parametrize(
    "made",
    [{"frames": 0.0}, {"frames": 0.3}, {"rows": 0.0}, {"sound": 0.0}, {"frames": 0.0, "rows": 0.3, "sound": 0.0}],
    ids=["a frame given", "a frame given in part", "a part repainted", "a part of the sound given", "all of these"],
)
def test_what_is_given_has_a_modulation_of_its_own(case, made):
    """A row for every frame, token or moment of the sound."""
    size = case.sizes["square"]
    assert against_oracle(case, TOKENS, 2, size, noise_mask=mask(size, **made)) < 1e-4


def test_tokens_under_a_focus_mask_are_all_computed(case):
    settings = replace(TOKENS, focus_mask=torch.eye(3).unsqueeze(0))
    assert against_oracle(case, settings, 2, case.sizes["wide"]) < 1e-4


def test_a_mask_of_the_video_alone(case):
    size = case.sizes["square"]
    assert against_oracle(case, TOKENS, 1, size, noise_mask=mask(size, frames=0.0).unbind()[0]) < 1e-4


def reason_of(case, noise, by_proof=False, **extra):
    reason = idle_instead(case.build(), TOKENS, lambda model: case.sample(model, noise, **extra), by_proof)
    return reason.removeprefix(f"{IDLE_INSTEAD}: ")


@pytest.mark.parametrize("guides", [(), (GUIDE,)], ids=["key frame", "as a guide"])
def test_beside_key_frames_there_are_idle_steps(case, guides):
    size = case.sizes["square"]
    given = key_frames(case, size[0][1:], guides)
    assert reason_of(case, case.noise(1, size), **given).startswith("the model is given ")


@pytest.mark.skipif(not hasattr(comfy_extras.nodes_lt, "LTXVReferenceAudio"), reason="this host has no such node")
def test_beside_a_voice_to_copy_there_are_idle_steps(case):
    voice = {"tokens": torch.randn(1, 4, 128, generator=torch.Generator().manual_seed(5))}
    assert reason_of(case, case.noise(1, case.sizes["square"]), ref_audio=voice) == "the model is given ref_audio"


def test_a_video_without_sound_has_idle_steps(case):
    noise = Case.noise(case, 1, case.sizes["square"][0][1:])
    assert reason_of(case, noise) == "a video without its sound"


def test_the_proof_finds_out_that_the_sound_attends_to_the_video(case, monkeypatch):
    family = find_family(case.build().model.diffusion_model)
    monkeypatch.setattr(type(family), "layout", replace(family.layout, attention=(0,)))
    assert reason_of(case, case.noise(1, case.sizes["wide"]), by_proof=True).startswith("proof failed")


def test_the_proof_looks_at_the_sound_itself(case, monkeypatch):
    """Of what is wrong in the last block's last attention the video's answer tells nothing."""
    last, renew = ("transformer_blocks", case.unet["num_layers"] - 1, 5), KVCache.renew

    def wrong(self, name, key, value, *more):
        return renew(self, name, key, value.flip(1) if name == last else value, *more)

    monkeypatch.setattr(KVCache, "renew", wrong)
    assert reason_of(case, case.noise(1, case.sizes["wide"]), by_proof=True).startswith("proof failed")


def test_the_sound_is_counted_in_full_and_the_picture_shows_the_video(case):
    size = case.sizes["wide"]
    pruned = attach(case.build(), TOKENS)
    case.sample(pruned, case.noise(1, size))
    report = last_report(pruned)
    step = next(step for step in report.steps if step.kind == StepKind.PRUNED.value)
    computed, sound = round(TOKENS.keep_ratio * 72), size[1][1]
    assert [(call.tokens, call.computed, call.companions) for call in step.calls] == [(72, computed, sound)] * 2
    assert report.share(step) == report.cost.total(72, computed, TEXT, sound) / report.cost.total(72, 72, TEXT, sound)
    assert step.selected.shape == (1, *size[0][1:])
    colours = getattr(pruned.get_model_object("latent_format"), "latent_rgb_factors", None)
    assert getattr(report.preview, "shape", None) == ((*size[0][2:], 3) if colours else None)


def test_the_host_is_told_of_the_videos_keys_and_values(case, monkeypatch):
    model, seen = case.build(), []
    # small against the caches, so that their number of pictures is exact
    monkeypatch.setattr(model.model, "memory_required", lambda shape, cond_shapes=None: 1000 * shape[0])
    told = lambda model, shape, conds: seen.append(shape[0]) or (0, 0)  # noqa: E731
    monkeypatch.setattr(comfy.sampler_helpers, "estimate_memory", told)
    pruned = attach(model, TOKENS)
    case.sample(pruned, case.noise(1, case.sizes["wide"]))
    needed = 2 * 4 * last_report(pruned).cost.count_cached(72, TEXT)
    assert needed <= (seen[0] - 1) * 1000 < needed + 1000
