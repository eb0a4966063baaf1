"""Every family's gathered computation equals the dense one."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from cat_core.host.patcher import attach, last_report
from cat_core.host.proof import Proof
from cat_core.settings import PAPER, CATSettings
from contract.breaking import break_layout
from contract.oracle import Oracle
from devices import TOLERANCE
from small import CONFIGS, Residuals, conditioning, noise_for, sample, small_model

pytestmark = pytest.mark.host

SIZES = {"square": (16, 16), "wide": (12, 20), "odd": (15, 17)}
TOKENS = replace(PAPER, warmup_steps=3)
PRUNED = {
    "paper": TOKENS,
    "all": CATSettings(keep_ratio=0.4, pruned_interval=1, refresh_interval=3, warmup_steps=3, final_full_steps=1),
    "never refreshed": CATSettings(keep_ratio=0.3, pruned_interval=1, refresh_interval=0, warmup_steps=3),
    "pruned and idle": CATSettings(keep_ratio=0.4, refresh_interval=5, warmup_steps=2, correction=0.7, propagation=0.6),
}


def relative_error(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


def against_oracle(model, settings: CATSettings, noise: torch.Tensor, reasons=(), **sampling) -> float:
    """Sample pruned, then densely with the same selections; return their relative difference."""
    pruned = attach(model, settings)
    picture = sample(pruned, noise, **sampling)
    report = last_report(pruned)
    assert report.reasons == list(reasons)
    assert report.count("pruned") + report.count("idle") >= 3
    dense = sample(Oracle(report, settings).attach(model), noise, **sampling)
    stock = sample(model, noise, **sampling)
    assert relative_error(picture, stock) > 1e-3, "pruning that changes nothing proves nothing"
    return relative_error(picture, dense)


@pytest.mark.parametrize("settings", PRUNED.values(), ids=PRUNED)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_pruned_run_equals_the_dense_one(name, batch, size, settings):
    assert against_oracle(small_model(name), settings, noise_for(batch, *size)) < TOLERANCE[torch.float32]


@pytest.mark.parametrize("settings", PRUNED.values(), ids=PRUNED)
@pytest.mark.parametrize("name", CONFIGS)
def test_so_it_does_in_16_bits(name, settings):
    """No closer than their rounding, which is chance: keys of other shapes are added up in another order."""
    model = small_model(name, dtype=torch.bfloat16)
    assert against_oracle(model, settings, noise_for(1, 16, 16)) < TOLERANCE[torch.bfloat16]


def test_the_paper_setting_is_the_published_method():
    """8 warm-up steps of 28, then 30 % of the tokens in 20 clusters at every step; the others' noise is held."""
    model, noise = small_model(), noise_for(1, 16, 16)
    pruned = attach(model, PAPER)
    picture = sample(pruned, noise, steps=28)
    report = last_report(pruned)
    assert [step.kind for step in report.steps] == ["full"] * 8 + ["pruned"] * 20
    assert {call.computed for step in report.steps[8:] for call in step.calls} == {round(0.3 * 64)}
    assert report.clusters.max() + 1 == 20
    held = SimpleNamespace(forecast=0, correction=0, propagation=0)
    assert relative_error(picture, sample(Oracle(report, held).attach(model), noise, steps=28)) < 1e-4


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_run_with_idle_steps_alone_equals_the_dense_one(size):
    settings = CATSettings(keep_ratio=0.0, warmup_steps=2, refresh_interval=3)
    assert against_oracle(small_model(), settings, noise_for(2, *size)) < 1e-4


@pytest.mark.parametrize("name", CONFIGS)
def test_conditionings_of_unequal_length_run_apart_and_equal_the_dense_run(name):
    prompts = {"positive": conditioning(1, tokens=9), "negative": conditioning(2, tokens=5)}
    assert against_oracle(small_model(name), TOKENS, noise_for(2, 16, 16), **prompts) < 1e-4


def test_two_positive_prompts_and_no_guidance():
    both = conditioning(1) + conditioning(3)
    assert against_oracle(small_model(), TOKENS, noise_for(1, 16, 16), positive=both, cfg=1.0) < 1e-4


@pytest.mark.parametrize("blocks", [2, 3])
def test_control_residuals_reach_the_tokens_they_belong_to(blocks):
    control = {"control": Residuals(blocks, 64), "control_apply_to_uncond": True}
    prompts = {"positive": conditioning(1, **control), "negative": conditioning(2, **control)}
    assert against_oracle(small_model(), TOKENS, noise_for(2, 16, 16), **prompts) < 1e-4


def test_the_oracle_notices_a_wrong_row(monkeypatch):
    """Gather with neighbouring rows' indices, and no proof: the comparison must fail."""
    monkeypatch.setattr(Proof, "reason_against", lambda self, most: None)
    break_layout(monkeypatch, "tokens")
    assert against_oracle(small_model(), TOKENS, noise_for(1, 16, 16)) > 1e-3


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m", "dpm_2"])
@pytest.mark.parametrize("name", CONFIGS)
def test_keep_ratio_one_equals_the_unpatched_model(name, sampler):
    model, noise = small_model(name), noise_for(2, 12, 14)
    pruned = attach(model, CATSettings(keep_ratio=1.0))
    assert torch.equal(sample(pruned, noise, sampler=sampler), sample(model, noise, sampler=sampler))


@pytest.mark.parametrize("name", CONFIGS)
def test_all_tokens_through_the_gathered_path_equal_the_unpatched_model(name):
    """A keep ratio that rounds to every token: pruned steps that gather, attend to the cache and scatter everything."""
    model, noise = small_model(name), noise_for(2, 12, 14)
    pruned = attach(model, replace(TOKENS, keep_ratio=0.999))
    assert relative_error(sample(pruned, noise), sample(model, noise)) < 1e-5
    assert last_report(pruned).count("full") == 10


@pytest.mark.parametrize("name", CONFIGS)
def test_full_steps_are_bit_equal_while_they_fill_the_caches(name):
    model, noise = small_model(name), noise_for(2, 12, 14)
    seen = {"stock": [], "pruned": []}
    settings = replace(PAPER, warmup_steps=4)
    for label, patched in (("stock", model), ("pruned", attach(model, settings))):
        sample(patched, noise, callback=lambda step, x0, x, total, label=label: seen[label].append(x0.clone()))
    same = [torch.equal(a, b) for a, b in zip(seen["stock"], seen["pruned"], strict=True)]
    assert same[:4] == [True] * 4
    assert not same[4]
