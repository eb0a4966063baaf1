"""Every method samples the demo model as it says, and its cost is counted right."""

import copy

import numpy as np
import pytest
import torch

from bench import second_model
from bench.methods import AUTOMATIC, BALANCED, EASY, LAZY, Method, target
from bench.sampling import DemoSampler, setup
from bench.selectors import SELECTORS
from bench.tasks import TASKS
from cat_core.algorithm.macs import ModelCost
from cat_core.host.architecture import find_family
from cat_core.host.demo import MAX_WORDS
from cat_core.settings import CATSettings

pytestmark = pytest.mark.usefixtures("as_the_host_runs_nodes")
STEPS, SIDE = 6, 16
TOKENS = (SIDE // 2) ** 2


def sampled(host, **knobs):
    return host.sample(Method("tested", "tests", **{"steps": STEPS, **knobs}), "euler", "red apple on blue", 1)


@pytest.fixture(scope="module")
def full(host):
    with torch.inference_mode():
        return host.sample(target(STEPS), "euler", "red apple on blue", 1)


def test_the_target_costs_every_step_of_both_branches(host, full):
    transformer = host.model.get_model_object("diffusion_model")
    cost = find_family(transformer).cost(transformer)
    assert isinstance(cost, ModelCost)
    assert full.macs == STEPS * 2 * cost.total(TOKENS, TOKENS, MAX_WORDS)


def test_the_same_run_twice_gives_the_same_bits(host, full):
    assert torch.equal(sampled(host).latent, full.latent)


def test_fewer_steps_cost_in_proportion(host, full):
    assert sampled(host, steps=3).macs * 2 == full.macs


def test_a_run_that_prunes_nothing_is_the_target_at_its_cost(host, full):
    sample = sampled(host, settings=CATSettings(keep_ratio=1.0))
    assert torch.equal(sample.latent, full.latent)
    assert sample.macs == full.macs
    assert "keep ratio 1" in sample.note


@pytest.mark.parametrize("name", SELECTORS)
def test_another_selector_chooses_other_tokens_at_the_same_cost(host, name):
    settings = CATSettings(keep_ratio=0.5, pruned_interval=1, warmup_steps=2, refresh_interval=0, final_full_steps=0)
    ours, other = (sampled(host, settings=settings, selector=selector) for selector in (None, name))
    assert not torch.equal(other.latent, ours.latent)
    assert other.macs == ours.macs
    assert torch.equal(sampled(host, settings=settings).latent, ours.latent)


def test_pruned_steps_cost_less_and_idle_ones_nothing(host, full):
    knobs = {"warmup_steps": 2, "refresh_interval": 2, "pruned_interval": 1, "final_full_steps": 1}
    idle = sampled(host, settings=CATSettings(keep_ratio=0.0, **knobs))
    # full, full, idle, full, idle, full
    assert idle.macs * 3 == full.macs * 2
    pruned = sampled(host, settings=CATSettings(**{"keep_ratio": 0.25, **knobs, "refresh_interval": 0}))
    assert idle.macs < pruned.macs < full.macs
    assert idle.note == pruned.note == ""


def test_a_step_that_lazycache_skips_costs_nothing(host, full):
    sample = sampled(host, steps=12, cache=(LAZY, 3.0))
    assert sample.macs < 2 * full.macs
    assert (sample.macs * STEPS) % full.macs == 0


def test_easycache_changes_nothing_here(host, full):
    sample = sampled(host, cache=(EASY, 1.0))
    assert torch.equal(sample.latent, full.latent)
    assert sample.macs == full.macs


def test_cat_pruning_beside_lazycache_computes_all_and_says_so(host, full):
    sample = sampled(host, settings=CATSettings(warmup_steps=2, keep_ratio=0.25), cache=(LAZY, 0.0))
    assert torch.equal(sample.latent, full.latent)
    assert sample.macs == full.macs
    assert sample.note


def test_no_method_leaves_anything_on_the_model(host, full):
    before = copy.deepcopy((host.model.wrappers, host.model.attachments))
    sampled(host, settings=CATSettings(), cache=(LAZY, 0.2))
    assert (host.model.wrappers, host.model.attachments) == before
    assert torch.equal(sampled(host).latent, full.latent)


def test_pictures_are_float_and_in_range(host, full):
    picture = host.picture(full.latent)
    assert picture.shape == (4 * SIDE, 4 * SIDE, 3)
    assert picture.dtype == np.float32
    assert 0 <= picture.min() <= picture.max() <= 1


def test_a_setup_is_told_apart_by_all_that_samples_depend_on(monkeypatch, tmp_path):
    # of the second model's file, which is nowhere but where it was trained, the bytes count
    file = tmp_path / "second.safetensors"
    file.write_bytes(b"second")
    monkeypatch.setattr(second_model, "FILE", file)
    tasks = [setup(64, "bf16", task) for task in TASKS.values()]
    assert len({*tasks, setup(64, "bf16"), setup(32, "bf16"), setup(64, "highest")}) == 6


def test_what_is_not_repainted_is_the_given_picture_and_is_not_compared(full):
    host = DemoSampler(SIDE, TASKS["inpainting"])
    sample = host.sample(target(STEPS), "euler", "red apple on blue", 1)
    outside = torch.ones(SIDE, SIDE, dtype=torch.bool)
    outside[host.repainted, host.repainted] = False
    assert outside.sum() == SIDE**2 - 8**2
    given = host.begin("red apple on blue", 1)["samples"]
    assert torch.allclose(sample.latent[..., outside], given[..., outside], atol=1e-5)
    assert host.picture(sample.latent).shape == (32, 32, 3)


def test_automatic_is_what_the_node_does_and_no_preset():
    host = DemoSampler(32, TASKS["inpainting"])
    automatic = host.sample(Method("automatic", "tests", 20, AUTOMATIC), "euler", "red apple on blue", 1)
    balanced = host.sample(Method("balanced", "tests", 20, BALANCED), "euler", "red apple on blue", 1)
    assert automatic.macs != balanced.macs


def test_the_distilled_variant_evaluates_one_prompt():
    host = DemoSampler(SIDE, TASKS["distilled"])
    base = DemoSampler(SIDE).sample(target(STEPS), "euler", "red apple on blue", 1)
    assert 2 * host.sample(target(STEPS), "euler", "red apple on blue", 1).macs == base.macs
