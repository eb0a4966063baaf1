"""Every family's gathered computation equals the dense one, on the host's own class with a small configuration."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cat_core.host.architecture import find_family
from cat_core.host.patcher import attach, last_report
from cat_core.host.proof import Proof
from cat_core.host.room import Room
from cat_core.settings import PAPER, PRESETS, CATSettings
from contract.breaking import break_layout
from contract.oracle import Oracle
from zoo import CASES

pytestmark = pytest.mark.host

TOKENS = replace(PAPER, warmup_steps=3)
SETTINGS = {
    "paper": TOKENS,
    "all": CATSettings(keep_ratio=0.4, refresh_interval=5, warmup_steps=2, correction=0.7, propagation=0.6),
}


def relative_error(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


def against_oracle(case, settings, batch, size, behind=None, reasons=(), **prompt) -> float:
    """Sample pruned, then densely with the same selections; return their relative difference."""
    model, noise = case.build(), case.noise(batch, size)
    pruned = attach(model, settings)
    picture = case.sample(pruned, noise, **prompt)
    report = last_report(pruned)
    assert report.reasons == list(reasons)
    assert report.count("pruned") >= 2
    oracle = Oracle(report, settings, case.patch, case.behind if behind is None else behind, case.serves, case.blind)
    dense = case.sample(oracle.attach(model), noise, **prompt)
    stock = case.sample(model, noise, **prompt)
    assert relative_error(picture, stock) > 1e-3, "pruning that changes nothing proves nothing"
    return relative_error(picture, dense)


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("shape", ["square", "wide"])
def test_a_pruned_run_equals_the_dense_one(case, shape, batch, settings):
    assert against_oracle(case, settings, batch, case.sizes[shape]) < 1e-4


@pytest.mark.parametrize("missing", [0, 9])
def test_control_residuals_reach_the_tokens_they_belong_to(case, missing):
    """Also where they are for the first tokens only."""
    if not case.control:
        pytest.skip("takes no ControlNet's residuals")
    if missing and not case.short_control:
        pytest.skip("the host takes residuals for all tokens only")
    size = case.sizes["wide"]
    prompt = case.residuals(size)
    for parts in prompt["control"].kinds.values():
        parts[:] = [None if part is None else part[:, : part.shape[1] - missing] for part in parts]
    assert against_oracle(case, TOKENS, 2, size, **prompt) < 1e-4


def test_reference_latents_are_computed_in_full(case):
    if not case.references:
        pytest.skip("takes no reference latents")
    size = case.sizes["wide"]
    reference = case.noise(1, size)
    prompt = {"reference_latents": [reference, reference[..., :6]]}
    behind = case.tokens(size) + case.tokens((*size[:-1], 6))
    assert against_oracle(case, TOKENS, 1, size, behind=behind, **prompt) < 1e-4
    # the comparison can tell: an oracle that takes references for image tokens is another computation
    assert against_oracle(case, TOKENS, 1, size, behind=0, **prompt) > 1e-4


@pytest.mark.parametrize("name", ["wan 2.2", "ltxv"])
def test_given_frames_have_a_modulation_of_their_own(name):
    """They are computed at a noise level of zero."""
    case = CASES[name]
    size = case.sizes["square"]
    mask = torch.ones(1, 1, *size)
    mask[:, :, 0] = 0
    assert against_oracle(case, TOKENS, 2, size, noise_mask=mask) < 1e-4


@pytest.mark.parametrize("what", ["tokens", "positions"])
def test_the_oracle_notices_a_wrong_row(case, what, monkeypatch):
    """Tokens, or their positions, from their neighbours' places, and no proof: too far off to pass for equal."""
    if what == "positions" and not case.rotary:
        pytest.skip("no rotary embeddings")
    monkeypatch.setattr(Proof, "reason_against", lambda self, most: None)
    break_layout(monkeypatch, what)
    assert against_oracle(case, TOKENS, 1, case.sizes["wide"]) > 1e-4


def test_keep_ratio_one_equals_the_unpatched_model(case):
    model, noise = case.build(), case.noise(2, case.sizes["wide"])
    pruned = attach(model, CATSettings(keep_ratio=1.0))
    assert torch.equal(case.sample(pruned, noise), case.sample(model, noise))


def test_all_tokens_through_the_gathered_path_equal_the_unpatched_model(case):
    """A keep ratio that rounds to every token: pruned steps that gather, attend to the cache and scatter everything."""
    model, noise = case.build(), case.noise(2, case.sizes["wide"])
    pruned = attach(model, replace(TOKENS, keep_ratio=0.999))
    assert relative_error(case.sample(pruned, noise), case.sample(model, noise)) < 1e-4


def test_full_steps_are_bit_equal_while_they_fill_the_caches(case):
    model, noise = case.build(), case.noise(2, case.sizes["wide"])
    seen = {"stock": [], "pruned": []}
    settings = replace(PAPER, warmup_steps=4)
    for label, patched in (("stock", model), ("pruned", attach(model, settings))):
        case.sample(patched, noise, callback=lambda step, x0, x, total, label=label: seen[label].append(x0.clone()))
    same = [torch.equal(a, b) for a, b in zip(seen["stock"], seen["pruned"], strict=True)]
    assert same[:4] == [True] * 4
    assert not same[4]


def macs_said_and_counted(case, **prompt):
    model = attach(case.build(), CATSettings(keep_ratio=1.0))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        case.sample(model, case.noise(1, case.sizes["wide"]), steps=1, **prompt)
    by_module = counter.get_flop_counts()
    names = [name for name in by_module if name.count(".") == 1 and name.split(".")[1] in case.uncounted]
    assert len(names) == len(case.uncounted)
    left_out = sum(sum(by_module[name].values()) for name in names)
    return last_report(model).macs()[0], (counter.get_total_flops() - left_out) / 2


def test_macs_of_a_full_call_are_the_counted_ones(case):
    said, counted = macs_said_and_counted(case)
    assert said == pytest.approx(counted, rel=case.inexact)


@pytest.mark.parametrize("name", ["flux dev", "qwen-image", "chroma"])
def test_reference_latents_are_counted_where_they_are_computed(name):
    """Chroma is given them and does not look at them. Their embedding counts as that of text."""
    case = CASES[name]
    said, counted = macs_said_and_counted(case, reference_latents=[case.noise(1, case.sizes["square"])])
    assert said == pytest.approx(counted, rel=0.02)


def test_caches_hold_as_many_numbers_as_the_formula_says(case, monkeypatch):
    said, caches = [], []
    find, new_cache = Room.find, Room.new_cache
    monkeypatch.setattr(Room, "find", lambda self, values, call: said.append(values) or find(self, values, call))
    monkeypatch.setattr(Room, "new_cache", lambda *given: caches.append(new_cache(*given)) or caches[-1])
    case.sample(attach(case.build(), TOKENS), case.noise(1, case.sizes["wide"]))
    held = sum(cache.bytes for cache in caches) / 4
    assert held in (max(said), max(said) / case.sharing)


def test_automatic_settings_are_those_of_a_preset_that_works(case):
    model, noise = case.build(), case.noise(1, case.sizes["wide"])
    family = find_family(model.get_model_object("diffusion_model"))
    pruned = attach(model)
    case.sample(pruned, noise, steps=16)
    report = last_report(pruned)
    assert report.settings == PRESETS[family.preset]
    assert report.reasons == []
    assert report.count("idle") > 0


def test_a_look_alike_is_not_taken_for_the_family(case):
    transformer = case.build().get_model_object("diffusion_model")
    assert find_family(transformer)
    transformer.__class__ = type(type(transformer).__name__, (type(transformer),), {})
    assert find_family(transformer) is None
