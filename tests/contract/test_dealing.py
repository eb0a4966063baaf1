"""Which of several devices a conditioning comes to is the host's to say, at every evaluation anew.

What is remembered of answers follows it. Keys and values stay: where it comes to another device at a pruned step, it is
computed in full, as a run on one device is made to do here for comparison.
"""

import gc
import random
import weakref
from functools import cache
from itertools import pairwise

import pytest
from comfy import model_management

from cat_core.algorithm.noise import NoiseCache
from cat_core.algorithm.schedule import StepKind
from cat_core.caching.kv import KVCache
from cat_core.host import reasons
from cat_core.host.conditionings import Conditionings
from cat_core.host.journal import IN_FULL
from cat_core.host.patcher import attach, last_report
from cat_core.host.run import Run
from contract.idle import relative_error
from contract.several import TOKENS, copies, deal, share_out
from small import conditioning, noise_for, sample, small_model

# of unlike lengths, so that one device evaluates each by itself too
PROMPTS = {
    "two": conditioning(1, 7),
    "three": conditioning(1, 7) + conditioning(3, 9),
    "an area": conditioning(1, 7) + conditioning(3, 9, area=(8, 8, 2, 4), strength=1.0),
}
NEGATIVE = conditioning(2, 5)
STEPS = 8
MOVED = f"{IN_FULL}: a conditioning is evaluated on another device than its keys and values"


def held():
    """What is of a run, of all that there is."""
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, Run | KVCache | NoiseCache | Conditionings)]


def picture_of(model, prompt, noise=None):
    noise = noise_for(1, 12, 12) if noise is None else noise
    return sample(model, noise, STEPS, positive=PROMPTS[prompt], negative=NEGATIVE)


def name(one):
    """Of a conditioning, the same in every run."""
    return one.order, one.group[1]


@cache
def of_one_device(prompt, in_full=frozenset()):
    """With these names computed in full at their pruned steps."""
    known = reasons.for_full

    def for_full(call, plan, kinds, conditionings, proof):
        called = {(plan.step.number, name(conditionings[key])) for key in call.keys}
        return "as on several devices" if called & in_full else known(call, plan, kinds, conditionings, proof)

    with pytest.MonkeyPatch.context() as forcing:
        forcing.setattr(reasons, "for_full", for_full)
        return picture_of(attach(small_model(), TOKENS), prompt)


class Dealer:
    """Deals at random: at the first evaluation, and at those of the kinds ``anew``; others as the last full one."""

    def __init__(self, seed, anew):
        self.draw, self.anew = random.Random(seed), anew
        self.full, self.dealt = None, []

    def __call__(self, run, devices):
        dealt = self.full
        if dealt is None or run.plan.kind in self.anew:
            dealt = self.draw.sample(devices, len(devices))
        if run.plan.kind is StepKind.FULL:
            self.full = dealt
        self.dealt.append(dealt)
        return dealt

    @property
    def changes(self):
        return sum(one != other for one, other in pairwise(self.dealt))


@pytest.fixture(scope="module")
def models():
    """Of two devices and of three, for all runs: what one left behind would be seen in the next."""
    models = [attach(share_out(small_model, devices), TOKENS) for devices in (2, 3)]
    # the host collects garbage in every run with copies of models: of what this makes alone, to be quicker
    gc.collect()
    gc.freeze()
    yield models
    gc.unfreeze()


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize(
    ("anew", "runs"), [((), 20), ((StepKind.FULL, StepKind.IDLE), 27)], ids=["by the run", "by full and idle steps"]
)
def test_pictures_are_those_of_one_device(models, prompt, anew, runs):
    changes = 0
    for number in range(runs):
        dealer, several = Dealer(number, anew), models[number % 2]
        assert relative_error(picture_of(deal(several, dealer), prompt), of_one_device(prompt)) < 1e-5, number
        assert last_report(several).reasons == []
        assert last_report(several).count("pruned") == 2
        changes += dealer.changes
    assert (changes > 2 * runs) == bool(anew)
    assert held() == []


def computed_in_full(monkeypatch):
    """The names of conditionings that were computed in full at a pruned step, by step; filled by runs to come."""
    answer, found = Run._answer_full, set()

    def answered(run, call, plan):
        answer_given = answer(run, call, plan)
        if plan.kind is StepKind.PRUNED:
            found.update((plan.step.number, name(run.conditionings[key])) for key in call.keys)
        return answer_given

    monkeypatch.setattr(Run, "_answer_full", answered)
    return found


@pytest.mark.parametrize("prompt", PROMPTS)
def test_what_comes_to_another_device_at_a_pruned_step_is_computed_in_full(models, prompt, caplog):
    caplog.set_level("INFO")
    moved = 0
    for number in range(20):
        several = models[number % 2]
        with pytest.MonkeyPatch.context() as watching:
            names = computed_in_full(watching)
            picture = picture_of(deal(several, Dealer(number, tuple(StepKind))), prompt)
        assert last_report(several).reasons == ([MOVED] if names else [])
        assert relative_error(picture, of_one_device(prompt, frozenset(names))) < 1e-5, number
        moved += len(names)
    assert moved > 20
    assert MOVED in caplog.text
    assert held() == []


class PlannedError(RuntimeError):
    """Raised by a device."""


@pytest.mark.parametrize("fails", [False, True], ids=["that ends well", "that fails"])
def test_nothing_of_a_run_is_held(monkeypatch, fails):
    begin, runs = Run.__init__, []

    def watched(run, *args, **kwargs):
        begin(run, *args, **kwargs)
        runs.append(weakref.ref(run))

    monkeypatch.setattr(Run, "__init__", watched)
    several = share_out(small_model)
    pruned, models = attach(several, TOKENS), [copy.model for copy in copies(several)]
    if fails:
        calls = iter(range(100))

        def fail(*_):
            if next(calls) == 3:  # two steps in full and the proof are before
                raise PlannedError

        models[1].diffusion_model.register_forward_pre_hook(fail)
        with pytest.raises(PlannedError):
            picture_of(pruned, "two")
        assert [step.kind for step in last_report(pruned).steps][:2] == ["full"] * 2
    assert relative_error(picture_of(pruned, "two"), of_one_device("two")) < 1e-5
    assert held() == []
    assert len(runs) >= 1 + fails
    gone = [*runs, *map(weakref.ref, models)]
    del several, pruned, models
    monkeypatch.undo()
    model_management.cleanup_models_gc()
    gc.collect()
    assert [one() for one in gone] == [None] * len(gone)
