"""Tuning: what it spends, what it chooses, and what is kept of it."""

import math

import folder_paths
import pytest
import torch
from comfy.samplers import CFGGuider, sampler_object

from cat_core.host.aims import AIMS, compare_latents, describe, keep
from cat_core.host.patcher import attach, last_report
from cat_core.host.sampled import Sampled
from cat_core.host.tuned import choose_tuned, tuned_file
from cat_core.host.tuning import make_tuner
from cat_core.settings import parse_steps
from cat_core.tuned import read
from small import conditioning, noise_for, small_model
from zoo import CASES
from zoo.further import further_case

pytestmark = pytest.mark.host

STEPS = 16


@pytest.fixture(autouse=True)
def _folder(tmp_path):
    """The host's folder for users, for one test."""
    before = folder_paths.get_user_directory()
    folder_paths.set_user_directory(str(tmp_path))
    yield
    folder_paths.set_user_directory(before)


def sampled(model=None, noise=None, conds=None, sampler="euler"):
    """16 falling noise levels of a small model."""
    model = model or small_model()
    noise = noise_for(1, 16, 16) if noise is None else noise
    guider = CFGGuider(model)
    guider.set_conds(*(conds or map(conditioning, (1, 2))))
    guider.set_cfg(4.0)
    latent = {"samples": torch.zeros_like(noise)}

    def noise_of(seed):
        return torch.randn(noise.shape, generator=torch.Generator().manual_seed(seed))

    def sigmas_of(steps):
        return torch.linspace(1, 0, steps + 1)

    return Sampled(guider, sampler_object(sampler), sigmas_of, STEPS, latent, noise_of)


def tuned(aim, budget=12, seeds=2, told=None, **what):
    graph = sampled(**what)
    tuner = make_tuner(
        graph, range(seeds), budget, compare_latents, told.append if told is not None else lambda _: None
    )
    return graph, tuner, AIMS[aim](tuner, 0.6, 1.0)


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
    assert all(one.mean("cost") < 1 for one in findings.candidates)
    alike = [one for one in findings.ours if one.measured.keys() == findings.chosen.measured.keys()]
    assert findings.chosen.mean("similarity") == max(one.mean("similarity") for one in alike)


def test_fewer_steps_are_measured_on_the_same_seeds_and_said_if_better():
    _, _, findings = tuned("closest at a cost")
    (rival,) = findings.rivals
    assert rival.measured.keys() <= findings.chosen.measured.keys()
    text = describe(findings, "latents")
    assert f"{rival.steps} steps without CAT Pruning" in text


def test_what_was_chosen_is_used_by_preset_tuned():
    graph, _, findings = tuned("closest at a cost")
    keep(graph, findings)
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


@pytest.mark.parametrize("name", ["SD15", "WAN21_T2V"])
def test_unets_and_videos_are_tuned_too(name):
    case = further_case(name) if name == "SD15" else CASES["wan"]
    noise = case.noise(1, next(iter(case.sizes.values())))
    conds = [case.conditioning(seed) for seed in (1, 2)]
    _, _, findings = tuned("closest at a cost", model=case.build(), noise=noise, conds=conds)
    assert findings.chosen.mean("cost") <= 0.6
    assert any(one.settings.selects_tokens for one in findings.ours) == (name != "SD15")


def test_a_budget_too_small_and_a_sampler_that_bears_nothing_are_refused():
    with pytest.raises(ValueError, match="budget must be 5 or more for 2 seeds"):
        tuned("curve only", budget=4)
    with pytest.raises(ValueError, match="Nothing can be left out"):
        tuned("curve only", sampler="lcm")


def test_equal_latents_are_infinitely_alike():
    latent = torch.randn(1, 4, 8, 8)
    assert compare_latents(latent, latent) == math.inf
    assert compare_latents(latent, latent + 0.1 * latent) == pytest.approx(20, abs=0.01)
