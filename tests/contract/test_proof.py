"""Proof before pruning: no wrong layout is ever pruned by, and right ones are told from them."""

import itertools
from dataclasses import replace

import pytest
import torch

from cat_core.algorithm.selection import LayoutError
from cat_core.host.architecture import find_family
from cat_core.host.architecture.family import Family
from cat_core.host.architecture.layout import Layout
from cat_core.host.journal import IDLE_INSTEAD
from cat_core.host.patcher import attach, last_report
from cat_core.host.proof import EXACT, Proof
from cat_core.host.pruning import Pruning
from cat_core.settings import PAPER, CATSettings
from contract.breaking import break_layout
from contract.oracle import Oracle
from small import conditioning, noise_for, sample, small_model
from zoo import CASES

TOKENS = replace(PAPER, warmup_steps=3)


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def error(one, other):
    return float((one - other).norm() / other.norm())


def assert_idle_and_right(case, model, noise):
    """Nothing was pruned, and the picture is what idle steps give."""
    pruned = attach(model, TOKENS)
    picture = case.sample(pruned, noise)
    report = last_report(pruned)
    (reason,) = report.reasons
    assert reason.startswith(IDLE_INSTEAD)
    assert report.count("pruned") == 0
    assert report.count("idle") >= 2
    oracle = Oracle(report, TOKENS.without_tokens(), case.patch)
    assert error(picture, case.sample(oracle.attach(model), noise)) < 1e-4
    return reason


@pytest.mark.parametrize("what", ["tokens", "put", "positions", "keys"])
def test_a_layout_that_is_off_by_one_row_is_caught(case, what, monkeypatch):
    if what == "positions" and not case.rotary:
        pytest.skip("no rotary embeddings")
    model, noise = case.build(), case.noise(2, case.sizes["wide"])
    break_layout(monkeypatch, what)
    assert "proof failed" in assert_idle_and_right(case, model, noise)


@pytest.mark.host
def test_a_right_layout_is_far_inside_the_tolerance(case, monkeypatch):
    seen = []
    judge = Proof.reason_against

    def watched(self, most):
        seen.extend(float(error) for errors in self.errors.values() for error in errors)
        return judge(self, most)

    monkeypatch.setattr(Proof, "reason_against", watched)
    pruned = attach(case.build(), TOKENS)
    case.sample(pruned, case.noise(2, case.sizes["wide"]))
    assert last_report(pruned).reasons == []
    assert 0 < len(seen) <= 2, "once for every call of a step"
    assert max(seen) < EXACT / 50


def test_an_error_in_the_proof_is_a_reason_and_does_not_end_the_run(monkeypatch):
    computed = Pruning.compute

    def failing(self, *args):
        raise KeyError("no such block")

    monkeypatch.setattr(Pruning, "compute", failing)
    pruned = attach(small_model(), TOKENS)
    picture = sample(pruned, noise_for(1, 16, 16))
    monkeypatch.setattr(Pruning, "compute", computed)
    (reason,) = last_report(pruned).reasons
    assert "proof failed, KeyError: 'no such block'" in reason
    assert torch.isfinite(picture).all()
    assert last_report(pruned).count("idle") > 0


def fail_at(monkeypatch, number, error):
    """Let the call that computes tokens by themselves for the n-th time, the proof among them, end in an error."""
    compute, calls = Pruning.compute, itertools.count(1)

    def failing(self, *args):
        if next(calls) == number:
            raise error
        return compute(self, *args)

    monkeypatch.setattr(Pruning, "compute", failing)


def test_a_layout_error_in_mid_run_drops_the_caches_and_goes_on(monkeypatch):
    fail_at(monkeypatch, 3, LayoutError("rows moved"))
    pruned = attach(small_model(), TOKENS)
    sample(pruned, noise_for(1, 16, 16))
    report = last_report(pruned)
    assert report.reasons == [f"{IDLE_INSTEAD}: rows moved"]
    # the proof, a pruned step, the one that fails and is computed in full, and idle ones with refreshes
    assert [step.kind for step in report.steps][3:6] == ["pruned", "full", "full"]
    assert report.count("pruned") == 1
    assert report.count("idle") >= 2


def test_the_hosts_own_errors_at_a_pruned_step_reach_the_user(monkeypatch):
    fail_at(monkeypatch, 2, RuntimeError("of the host"))
    with pytest.raises(RuntimeError, match="of the host"):
        sample(attach(small_model(), TOKENS), noise_for(1, 16, 16))


def test_a_run_is_proved_once_and_read_from_once(monkeypatch):
    proofs, reads = [], []
    prove, judge = Pruning._prove, Proof.reason_against
    monkeypatch.setattr(Pruning, "_prove", lambda self, *args: proofs.append(self.following - 1) or prove(self, *args))

    def watched(self, most):
        reads.append(bool(self.errors))
        return judge(self, most)

    monkeypatch.setattr(Proof, "reason_against", watched)
    settings = CATSettings(keep_ratio=0.4, pruned_interval=1, refresh_interval=3, warmup_steps=3)
    pruned = attach(small_model(), settings)
    sample(pruned, noise_for(2, 16, 16), steps=16)
    assert last_report(pruned).count("pruned") >= 4
    assert proofs == [2]
    assert reads.count(True) == 1


def test_conditionings_that_run_apart_are_proved_apart(monkeypatch):
    proofs = []
    prove = Pruning._prove
    monkeypatch.setattr(
        Pruning, "_prove", lambda self, call, *args: proofs.append(call.keys) or prove(self, call, *args)
    )
    pruned = attach(small_model(), TOKENS)
    sample(pruned, noise_for(1, 16, 16), positive=conditioning(1, tokens=9), negative=conditioning(2, tokens=5))
    assert last_report(pruned).reasons == []
    assert sorted(len(keys) for keys in proofs) == [1, 1]


def test_no_family_says_what_the_base_class_does(case):
    """Families list what they know: a family that lists nothing is served nothing but latents and text."""
    family = find_family(case.build().get_model_object("diffusion_model"))
    assert Family.arguments == Family.patches == frozenset()
    assert Layout(blocks=()).controls == {}
    assert isinstance(family.arguments, frozenset)
