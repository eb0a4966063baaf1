"""Other nodes' attention: pruned steps that are right by it, or idle ones and its own words."""

from functools import partial

import pytest
import torch
from comfy.patcher_extension import WrappersMP

from cat_core.host.attention import OVERRIDE
from cat_core.host.journal import IDLE_INSTEAD
from cat_core.host.patcher import attach, last_report
from contract.idle import relative_error
from contract.oracle import Oracle
from contract.test_neighbours import FLUX, WAN, assert_pruned
from contract.test_proof import TOKENS
from zoo import CASES


def overriding(attention):
    """A node that computes attention."""

    def node(model):
        clone = model.clone()
        clone.model_options["transformer_options"][OVERRIDE] = attention
        return clone

    return node


def overriding_beneath(attention):
    """The same below the oracle, which has taken the place in the options."""

    def wrapper(executor, x, t, concat, context, control, options, **extra):
        mixing = options[OVERRIDE]
        options = {**options, OVERRIDE: lambda func, *args, **more: mixing(partial(attention, func), *args, **more)}
        return executor(x, t, concat, context, control, options, **extra)

    def node(model):
        clone = model.clone()
        clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "beneath", wrapper)
        return clone

    return node


def sage(func, q, k, v, heads, mask=None, skip_reshape=False, **more):
    """As SageAttention: keys without their mean, both in 8 bits with a scale for some rows each, values in 16."""
    assert mask is None, "no masks"
    assert q.ndim == (4 if skip_reshape else 3)
    assert q.shape[1] == heads if skip_reshape else q.shape[2] % heads == 0
    rows = 2 if skip_reshape else 1
    q, k = coarse(q, rows), coarse(k - k.mean(rows, True), rows)
    v = 0.9 * v.to(torch.bfloat16).to(v.dtype)  # weaker, for the test to see whether this was called at all
    return func(q, k, v, heads, mask=mask, skip_reshape=skip_reshape, **more)


def coarse(tensor, dim, together=16):
    """In eight bits, with a scale for as many rows."""
    scales = [(rows, rows.abs().max() / 127) for rows in tensor.split(together, dim)]
    return torch.cat([(rows / scale).round() * scale for rows, scale in scales], dim)


def blockwise(func, q, k, v, heads, **more):
    """As block-sparse attention, whose map of blocks is for a sequence that attends to itself."""
    assert q.shape == k.shape, "sequences of one length only"
    return 0.9 * func(q, k, v, heads, **more)


@pytest.mark.parametrize("case", [FLUX, WAN], ids=["flux", "wan"])
def test_attention_in_eight_bits(case):
    assert_pruned(case, overriding(sage), 0.02, overriding_beneath(sage))


def test_attention_that_takes_no_masks_is_given_none_by_the_pack():
    case = CASES["hunyuan video"]
    model, noise = overriding(sage)(case.build()), case.noise(1, case.sizes["wide"])
    masked = {"attention_mask": torch.ones(1, 7)}
    for which in (model, attach(model, TOKENS)):
        with pytest.raises(AssertionError, match="no masks"):
            case.sample(which, noise, **masked)


def test_attention_that_is_for_whole_sequences_only():
    model, noise = FLUX.build(), FLUX.noise(2, FLUX.sizes["wide"])
    for pruned in (attach(overriding(blockwise)(model), TOKENS), overriding(blockwise)(attach(model, TOKENS))):
        picture = FLUX.sample(pruned, noise)
        report = last_report(pruned)
        (reason,) = report.reasons
        assert reason.startswith(f"{IDLE_INSTEAD}: proof failed, AssertionError: sequences of one length only")
        assert report.count("pruned") == 0
        assert report.count("idle") >= 2
        oracle = Oracle(report, TOKENS).attach(overriding(blockwise)(model))
        assert relative_error(picture, FLUX.sample(overriding_beneath(blockwise)(oracle), noise)) < 1e-4
