"""Prompts that the host evaluates apart, at some steps or at all, because its memory is short."""

from types import SimpleNamespace

import comfy.conds
import comfy.model_base
import comfy.samplers
import numpy as np
import pytest
import torch
from comfy.model_patcher import ModelPatcher

from graphs.host_graph import TOKENS, dense, relative, side_by_side
from graphs.prompts import APART, KNOBS, LENGTH, MARGIN, PLANNED, SAME, STEPS, combined, prompt, whole_run

pytestmark = pytest.mark.usefixtures("pack")


class ShortMemory:
    """A host without memory for more than one conditioning in a call, at evaluations that ``apart`` says."""

    def __init__(self, monkeypatch, apart):
        self.apart, self.count, self.batches = apart, -1, []
        real = comfy.samplers._calc_cond_batch, comfy.model_base.BaseModel._apply_model

        def evaluate(*args):
            self.count += 1
            return real[0](*args)

        def apply_model(model, x, *args, **kwargs):
            self.batches.append(len(x))
            return real[1](model, x, *args, **kwargs)

        monkeypatch.setattr(comfy.samplers, "_calc_cond_batch", evaluate)
        monkeypatch.setattr(comfy.model_base.BaseModel, "_apply_model", apply_model)
        # the sampler's alone: what caches are allowed is another matter
        if hasattr(ModelPatcher, "get_free_memory"):
            monkeypatch.setattr(ModelPatcher, "get_free_memory", self.free)
        else:
            monkeypatch.setattr(comfy.samplers, "model_management", SimpleNamespace(get_free_memory=self.free))

    def free(self, *_):
        return 0 if self.apart(self.count % STEPS) else 10**15


SPLITS = {
    "always": lambda step: True,
    "every other step": lambda step: step % 2 == 1,
    "from a pruned step on": lambda step: step >= 6,
    "up to a refresh": lambda step: step < 5,
}


PARTED = {"every other step": "ffffpfppfppf", "from a pruned step on": "fffppffpfppf"}
"""Steps where pruned calls are parted that were not yet when they were proved right: these are computed in full."""


def three_prompts(graph):
    return combined(graph, prompt(graph, 1), prompt(graph, 5))


@pytest.mark.parametrize("kind", KNOBS)
@pytest.mark.parametrize("split", SPLITS)
def test_prompts_that_memory_parts_give_the_latent_they_give_together(monkeypatch, split, kind):
    together = side_by_side(whole_run(three_prompts), **KNOBS[kind])
    memory = ShortMemory(monkeypatch, SPLITS[split])
    apart = side_by_side(whole_run(three_prompts), **KNOBS[kind])
    assert set(memory.batches) == ({1} if split == "always" else {1, 3})
    assert relative(apart.stock, together.stock) < SAME
    if kind == "tokens" and split in PARTED:
        assert apart.run.reasons == [APART]
        assert apart.kinds == PARTED[split]
        assert relative(apart.pruned, dense(whole_run(three_prompts), apart.run, **TOKENS)) < SAME
        return
    assert apart.run.reasons == []
    assert apart.kinds == PLANNED[kind]
    assert relative(apart.pruned, together.pruned) < SAME
    for one, other in zip(apart.run.steps, together.run.steps, strict=True):
        assert np.array_equal(one.selected, other.selected)


@pytest.mark.parametrize("split", SPLITS)
def test_keeping_all_tokens_changes_nothing_where_memory_parts_prompts(monkeypatch, split):
    ShortMemory(monkeypatch, SPLITS[split])
    side = side_by_side(whole_run(three_prompts), keep_ratio=1.0)
    assert torch.equal(side.pruned, side.stock)


@pytest.mark.parametrize(("kind", "step"), [("tokens", 6), ("idle", 7)])
def test_a_prompt_whose_length_changes_with_the_split_is_computed_in_full_once(monkeypatch, kind, step):
    """As in models where the host repeats the shorter of two prompts that run together."""
    real = comfy.model_base.SD3.extra_conds

    def repeatable(model, **kwargs):
        given = real(model, **kwargs)
        return {**given, "c_crossattn": comfy.conds.CONDCrossAttn(given["c_crossattn"].cond)}

    monkeypatch.setattr(comfy.model_base.SD3, "extra_conds", repeatable)
    # together there are 14 text tokens of both, apart 7 of the negative, which is called first then
    ShortMemory(monkeypatch, lambda number: number >= step)
    side = side_by_side(whole_run(lambda g: prompt(g, 1, tokens=14)), **KNOBS[kind])
    # the other prompt is called alone for the first time, which no proof was of
    few, reasons, first = {"tokens": (32, [LENGTH, APART], [64, 64]), "idle": (0, [LENGTH], [64, 0])}[kind]
    assert side.run.reasons == reasons
    assert [call.computed for call in side.run.steps[step].calls] == first
    later = [call.computed for after in side.run.steps[step + 1 :] for call in after.calls]
    assert later.count(few) == 2 * PLANNED[kind][step + 1 :].count(kind[0].replace("t", "p"))
    assert 1e-3 < side.difference < MARGIN * 0.16
