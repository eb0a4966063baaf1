"""Hosts that do not exist yet: whatever a release changes, steps are pruned and right, or not pruned, with a reason."""

from dataclasses import replace

import pytest
from comfy.patcher_extension import WrapperExecutor, WrappersMP

from cat_core.host.journal import IDLE_INSTEAD
from cat_core.host.patcher import _WRAPPERS, attach, last_report
from cat_core.host.pruning import Pruning
from cat_core.settings import PAPER
from contract.oracle import Oracle
from zoo import CASES
from zoo.future import FUTURES

TOKENS = replace(PAPER, warmup_steps=3)


def error(one, other):
    return float((one - other).norm() / other.norm())


def sampled(future, model, noise):
    """Of a run with the pack: its report, and how far its picture is from the dense one with the same selections."""
    pruned = attach(model, TOKENS)
    picture = future.case.sample(pruned, noise, **future.prompt)
    report = last_report(pruned)
    settings = TOKENS if report.count("pruned") else TOKENS.without_tokens()
    dense = Oracle(report, settings, **future.oracle()).attach(model)
    return report, error(picture, future.case.sample(dense, noise, **future.prompt))


@pytest.fixture(params=FUTURES)
def future(request):
    return FUTURES[request.param]


def test_the_picture_is_right(future):
    report, distance = sampled(future, future.build(), future.case.noise(1, future.size))
    assert distance < 1e-4
    if future.prunes:
        assert report.reasons == []
        assert report.count("pruned") >= 2
    else:
        (reason,) = report.reasons
        assert reason.startswith(IDLE_INSTEAD)
        assert report.count("pruned") == 0
        assert report.count("idle") >= 2


@pytest.mark.parametrize("name", [name for name, future in FUTURES.items() if not (future.prunes or future.told)])
def test_without_the_proof_it_would_be_wrong(name, monkeypatch):
    """So these hosts are different enough, and it is the proof that sees it."""
    future = FUTURES[name]
    monkeypatch.setattr(Pruning, "_prove", lambda self, call, *_: self.proof.layouts.add(call.layout))
    try:
        report, distance = sampled(future, future.build(), future.case.noise(1, future.size))
    except (LookupError, RuntimeError, ValueError):
        return
    assert report.count("pruned") >= 2
    assert distance > 1e-4


def test_a_new_argument_of_the_model_is_named():
    future = FUTURES["flux: new argument"]
    report, _ = sampled(future, future.build(), future.case.noise(1, future.size))
    assert report.reasons == [f"{IDLE_INSTEAD}: the model is given horizon"]


def give_more(monkeypatch, kind, *args, **kwargs):
    """Let the host give one more argument to all wrappers of a kind, and to what they wrap."""
    execute, received = WrapperExecutor.execute, []

    def executed(self, *given, **named):
        if self.idx == 0 and _WRAPPERS[kind] in self.wrappers:
            original = self.original

            def called(*arguments, **named):
                received.append((arguments[len(arguments) - len(args) :], [named.pop(name) for name in kwargs]))
                return original(*arguments[: len(arguments) - len(args)], **named)

            self.original = called
            if args and "model_options" in named:
                # what comes behind it by place makes it come by place
                given = *given, named.pop("model_options")
            given, named = (*given, *args), {**named, **kwargs}
        return execute(self, *given, **named)

    monkeypatch.setattr(WrapperExecutor, "execute", executed)
    return received


@pytest.mark.parametrize("by_place", [False, True], ids=["by name", "by place"])
@pytest.mark.parametrize("kind", _WRAPPERS)
@pytest.mark.parametrize("name", ["flux dev", "pixart sigma"])
def test_wrappers_pass_on_what_a_later_host_gives_them(name, kind, by_place, monkeypatch):
    case = CASES[name]
    model, noise = case.build(), case.noise(1, case.sizes["wide"])
    args, kwargs = (("more",), {}) if by_place else ((), {"later": "more"})
    received = give_more(monkeypatch, kind, *args, **kwargs)
    pruned = attach(model, TOKENS)
    picture = case.sample(pruned, noise)
    assert set(map(str, received)) == {str((args, list(kwargs.values())))}
    report = last_report(pruned)
    if kind == WrappersMP.APPLY_MODEL:
        # there it is an argument of the model
        what = "further arguments" if by_place else "later"
        assert report.reasons == [f"{IDLE_INSTEAD}: the model is given {what}"]
    else:
        assert report.reasons == []
        assert report.count("pruned") >= 2
    settings = TOKENS if report.count("pruned") else TOKENS.without_tokens()
    oracle = Oracle(report, settings, case.patch, case.behind, case.serves, case.blind)
    assert error(picture, case.sample(oracle.attach(model), noise)) < 1e-4


def test_an_argument_without_a_value_changes_nothing(monkeypatch):
    case = CASES["flux dev"]
    give_more(monkeypatch, WrappersMP.APPLY_MODEL, later=None)
    pruned = attach(case.build(), TOKENS)
    case.sample(pruned, case.noise(1, case.sizes["wide"]))
    assert last_report(pruned).reasons == []
