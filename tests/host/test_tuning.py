"""Tuning: what it spends, what it chooses, and what is kept of it."""

import gc
import math
from dataclasses import replace
from itertools import pairwise

import comfy.sample
import folder_paths
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from comfy.samplers import KSampler
from comfy_extras.nodes_custom_sampler import (
    BasicGuider,
    BasicScheduler,
    KSamplerSelect,
    Noise_RandomNoise,
    SamplerCustomAdvanced,
)

from cat_core.algorithm.search import plan_share, turn
from cat_core.host.aims import AIMS, Pictures, compare_latents, describe, describe_progress, keep
from cat_core.host.graph import make_guider, resample, sample_like_custom, sample_like_ksampler
from cat_core.host.patcher import attach, last_report
from cat_core.host.tuned import choose_tuned, tuned_file
from cat_core.host.tuning import Candidate, Findings, Measured, make_tuner
from cat_core.settings import PRESETS, parse_steps
from cat_core.tuned import read
from nodes import KSampler as KSamplerNode
from small import conditioning, noise_for, small_model
from zoo import CASES
from zoo.further import further_case

pytestmark = pytest.mark.host

STEPS = 16
LATENT = {"samples": torch.zeros(noise_for(1, 16, 16).shape)}


@pytest.fixture(autouse=True)
def _folder(tmp_path):
    """The host's folder for users, for one test."""
    before = folder_paths.get_user_directory()
    folder_paths.set_user_directory(str(tmp_path))
    yield
    folder_paths.set_user_directory(before)


def sampled(model=None, noise=None, conds=None, sampler="euler", steps=STEPS, cfg=4.0):
    latent = LATENT if noise is None else {"samples": torch.zeros_like(noise)}
    guider = make_guider(model or small_model(), *(conds or map(conditioning, (1, 2))), cfg)
    return sample_like_ksampler(guider, latent, steps, sampler, "simple", 1.0)


def tuned(aim, budget=12, seeds=2, told=None, similarity=1.0, **what):
    graph = sampled(**what)
    tuner = make_tuner(graph, range(seeds), budget, compare_latents, lambda: told is not None and told.append(1))
    AIMS[aim](tuner, 0.6, similarity)
    return graph, tuner, tuner.findings


@pytest.mark.parametrize("denoise", [1.0, 0.6])
@pytest.mark.parametrize("sampler", ["euler", "dpm_2", "dpmpp_sde"])
def test_a_graph_is_sampled_as_by_ksampler(sampler, denoise):
    model, conds = small_model(), [conditioning(1), conditioning(2)]
    latent = {"samples": torch.randn(1, 16, 16, 16), "noise_mask": torch.ones(1, 16, 16)}
    (expected,) = KSamplerNode().sample(model, 5, 6, 4.0, sampler, "karras", *conds, latent, denoise)
    graph = sample_like_ksampler(make_guider(model, *conds, 4.0), latent, 6, sampler, "karras", denoise)
    assert torch.equal(graph.run(5, None).samples, expected["samples"])
    assert torch.equal(graph.record(5)[0].samples, expected["samples"])


@pytest.mark.parametrize("with_noise", [True, False])
def test_a_graph_is_sampled_as_by_samplercustomadvanced(with_noise):
    model, noise = small_model(), Noise_RandomNoise(5)
    guider = BasicGuider.execute(model, conditioning(1))[0]
    sampler = KSamplerSelect.execute("dpmpp_2m")[0]
    sigmas = BasicScheduler.execute(model, "simple", 6, 1.0)[0]
    expected = SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, LATENT)[0]
    graph = sample_like_custom(guider, LATENT, sampler, sigmas, noise if with_noise else None)
    assert (graph.steps, graph.occasion.guided) == (6, False)
    assert torch.equal(graph.run(5, None).samples, expected["samples"])
    assert not torch.equal(graph.run(6, None).samples, expected["samples"])
    assert noise.seed == 5


def test_without_a_negative_prompt_there_is_no_cfg():
    graph = sampled(conds=(conditioning(1), None), steps=6)
    (expected,) = KSamplerNode().sample(
        small_model(), 5, 6, 1.0, "euler", "simple", conditioning(1), conditioning(2), LATENT
    )
    assert torch.equal(graph.run(5, None).samples, expected["samples"])
    assert not graph.occasion.guided


@pytest.mark.parametrize("scheduler", ["simple", "karras", "beta", "kl_optimal"])
@pytest.mark.parametrize("denoise", [1.0, 0.5])
def test_fewer_steps_have_noise_levels_of_the_same_curve(scheduler, denoise):
    model = further_case("SD15").build()

    def schedule(steps):
        return KSampler(model, steps, "cpu", "euler", scheduler, denoise).sigmas

    sigmas = resample(schedule(40), 10)
    assert (len(sigmas), sigmas[-1]) == (11, 0)
    assert torch.allclose(sigmas[:-1], schedule(40)[:-1:4], rtol=1e-5)
    between = resample(schedule(40), 17)
    assert all(high > low for high, low in pairwise(between))
    part = resample(schedule(40)[:21], 10)
    assert torch.allclose(part, schedule(40)[:21:2], rtol=1e-5)
    assert torch.equal(resample(schedule(10), 10), schedule(10))


@pytest.mark.parametrize("aim", AIMS)
@pytest.mark.parametrize("budget", [5, 12])
def test_no_more_runs_than_allowed_and_all_are_told(aim, budget):
    told = []
    _, tuner, findings = tuned(aim, budget, told=told)
    assert tuner.left >= 0
    assert len(told) == budget - tuner.left
    assert sum(len(one.measured) for one in findings.candidates) == budget - tuner.left - 2


def test_the_closest_computes_no_more_than_it_may():
    _, _, findings = tuned("closest at a cost")
    assert findings.chosen.mean("cost") <= 0.6
    alike = [one for one in findings.ours if one.measured.keys() == findings.chosen.measured.keys()]
    assert findings.chosen.mean("similarity") == max(one.mean("similarity") for one in alike)
    assert findings.chosen.measured.keys() == {0, 1}


@pytest.mark.parametrize(("seeds", "budget", "rivals"), [(1, 4, 1), (2, 5, 1), (2, 6, 2), (2, 12, 2)])
def test_the_last_runs_are_kept_for_fewer_steps(seeds, budget, rivals):
    _, tuner, findings = tuned("closest at a cost", budget, seeds)
    assert [len(one.measured) for one in findings.rivals] == [rivals]
    assert len(findings.chosen.measured) == seeds
    assert tuner.left == 0


def test_candidates_are_idle_the_dearest_preset_and_with_tokens_and_the_best_are_tried_with_other_trends():
    _, tuner, findings = tuned("closest at a cost")
    kinds = [one.settings for one in tuner.candidates(0.6)]
    for share in (0.6, 0.8):
        presets = [one for name, one in PRESETS.items() if name != "paper" and plan_share(one, STEPS) <= share]
        assert tuner.candidates(share)[1].settings == max(presets, key=lambda one: plan_share(one, STEPS))
    assert [one.selects_tokens for one in kinds if one != kinds[1]] == [False] * (len(kinds) - 2) + [True]
    bases, turned = findings.ours[: len(kinds)], findings.ours[len(kinds) :]
    assert [one.settings for one in bases] == kinds
    ranked = sorted(bases, key=lambda one: -one.measured[0].similarity)
    trends = [turn(one.settings, tuner.most, 0.6) for one in ranked]
    wanted = [trend[place] for place in range(3) for trend in trends if trend[place] not in kinds]
    assert [one.settings for one in turned] == wanted[: len(turned)]
    assert turned


def test_fewer_steps_are_measured_on_the_same_seeds_and_said_if_better():
    _, _, findings = tuned("closest at a cost")
    (rival,) = findings.rivals
    assert rival.measured.keys() == findings.chosen.measured.keys()
    text = describe(findings, "latents")
    assert f"{rival.steps} steps without CAT Pruning" in text
    for likeness, said in ((90.0, True), (-90.0, False)):
        rival.measured = {seed: Measured(0.5, 0.0, likeness) for seed in rival.measured}
        assert ("Fewer steps are better here" in describe(findings, "latents")) is said


def test_the_cheapest_reaches_the_likeness_or_nothing_is_chosen():
    _, _, findings = tuned("cheapest above a likeness", 20, similarity=15.0)
    assert findings.chosen.mean("similarity") >= 15.0
    assert all(
        one.mean("cost") >= findings.chosen.mean("cost") for one in findings.ours if one.mean("similarity") >= 15.0
    )
    _, _, nothing = tuned("cheapest above a likeness", similarity=200.0)
    assert (nothing.chosen, nothing.rivals) == (None, [])
    assert "Nothing was chosen" in describe(nothing, "latents")


def test_nothing_is_chosen_where_a_graph_is_computed_in_full_whatever_the_settings():
    graph = sampled()
    model = graph.guider.model_patcher
    model.set_model_unet_function_wrapper(lambda apply, given: apply(given["input"], given["timestep"], **given["c"]))
    graph.guider.model_options = model.model_options
    for aim, goal in (("closest at a cost", 0.6), ("cheapest above a likeness", 10.0)):
        tuner = make_tuner(graph, range(1), 4, compare_latents)
        AIMS[aim](tuner, goal, goal)
        assert tuner.findings.ours != []
        assert tuner.findings.chosen is None


def test_a_curve_has_both_and_chooses_nothing():
    graph, _, findings = tuned("curve only")
    assert len(findings.ours) == len(findings.rivals) == 5
    assert findings.chosen is None
    assert keep(graph, findings) == ""
    assert not tuned_file().exists()


class StoppedError(Exception):
    """As the host's interrupt: from within a step."""


@pytest.mark.parametrize("run", [1, 7])
def test_an_interrupt_leaves_what_was_found_and_holds_nothing(run):
    graph, model = sampled(), small_model()
    graph.guider.model_patcher = model
    graph.guider.model_options = model.model_options

    def stop(share):
        if tuner.budget - tuner.left == run and share > 0.5:
            raise StoppedError

    before = patchers_of(model)
    tuner = make_tuner(replace(graph, on_step=stop), range(2), 12, compare_latents)
    with pytest.raises(StoppedError):
        tuner.find_closest(0.6)
    assert sum(len(one.measured) for one in tuner.findings.candidates) == max(0, run - 2)
    assert (tuner.findings.chosen is not None) == (run > 2)
    assert f"{run} of 12 runs" in describe_progress(tuner)
    text = describe(tuner.findings, "latents")
    assert ("Fewer steps were not measured" if run > 2 else "Nothing was chosen") in text
    keep(graph, tuner.findings)
    assert tuned_file().exists() == (run > 2)
    assert patchers_of(model) == before


def patchers_of(model):
    """How many patchers of a model are alive."""
    comfy.model_management.cleanup_models_gc()
    gc.collect()
    return sum(isinstance(one, ModelPatcher) and one.model is model.model for one in gc.get_objects())


def test_no_run_is_held_behind_the_next():
    """A run's caches are as large as they get: of two runs they would be twice as large."""
    graph, alive = sampled(), []
    model = graph.guider.model_patcher
    before = patchers_of(model)
    tuner = make_tuner(graph, range(2), 9, compare_latents, lambda: alive.append(patchers_of(model)))
    tuner.find_closest(0.6)
    assert max(alive) <= before + 1
    assert patchers_of(model) == before


def test_what_was_chosen_is_used_by_preset_tuned():
    graph, _, findings = tuned("closest at a cost")
    assert keep(graph, findings) == "Kept for preset tuned."
    (entry,) = read(tuned_file())
    assert entry.settings == findings.chosen.ran
    model = attach(graph.guider.model_patcher, choose_tuned)
    graph.guider.model_patcher, graph.guider.model_options = model, model.model_options
    graph.guider.sample(
        graph.noise_of(7), graph.latent["samples"], graph.sampler, graph.sigmas_of(STEPS), seed=7, disable_pbar=True
    )
    report = last_report(model)
    assert report.settings == findings.chosen.ran
    named = parse_steps("full_steps", report.settings.full_steps)
    assert report.count("full") == len(named) or not named
    assert any(note.startswith("tuned with") for note in report.notes)


@pytest.mark.parametrize("name", ["SD15", "wan t2v"])
def test_unets_and_videos_are_tuned_too(name):
    case = further_case(name) if name == "SD15" else CASES["wan t2v"]
    noise = case.noise(1, next(iter(case.sizes.values())))
    conds = [case.conditioning(seed) for seed in (1, 2)]
    _, _, findings = tuned("closest at a cost", model=case.build(), noise=noise, conds=conds)
    assert findings.chosen.mean("cost") <= 0.6 * 1.02
    assert len(findings.ours) > 2
    assert any(one.settings.selects_tokens for one in findings.ours) == (name != "SD15")


def test_a_budget_too_small_and_a_sampler_that_bears_nothing_are_refused():
    with pytest.raises(ValueError, match="budget must be 5 or more for 2 seeds"):
        tuned("curve only", budget=4)
    with pytest.raises(ValueError, match="Nothing can be left out"):
        tuned("curve only", sampler="lcm")
    with pytest.raises(ValueError, match="Nothing can be left out of 3 steps"):
        tuned("curve only", steps=3)


def test_of_videos_and_batches_pictures_are_compared_and_shown_side_by_side():
    pictures = Pictures(lambda latent: latent[:, :3, ..., None].movedim(1, -1).squeeze(-2).clamp(0, 1))
    first, second = torch.rand(2, 16, 3, 8, 8), torch.rand(2, 16, 3, 8, 8)
    assert pictures.compare(first, first) == math.inf
    assert 0 < pictures.compare(first, second) < 20
    measured = {0: Measured(0.5, 1.0, 20.0)}
    chosen = Candidate(PRESETS["speed"], 16, measured, samples=second)
    findings = Findings(16, [chosen], 1.0, first, chosen)
    assert pictures.side_by_side(findings).shape == (6, 8, 16, 3)
    findings.candidates.append(Candidate(None, 8, measured, samples=first))
    shown = pictures.side_by_side(findings)
    assert shown.shape == (6, 8, 24, 3)
    assert torch.equal(shown[:, :, :8], pictures.show(first))


def test_what_cannot_be_kept_is_said_and_nothing_is_lost():
    graph, _, findings = tuned("closest at a cost")
    tuned_file().parent.mkdir(parents=True)
    tuned_file().write_text("{")
    assert keep(graph, findings).startswith("Not kept for preset tuned: tuned.json is no file of tuned settings")
    assert tuned_file().read_text() == "{"


def test_equal_latents_are_infinitely_alike():
    latent = torch.randn(1, 4, 8, 8)
    assert compare_latents(latent, latent) == math.inf
    assert compare_latents(latent, latent + 0.1 * latent) == pytest.approx(20, abs=0.01)
