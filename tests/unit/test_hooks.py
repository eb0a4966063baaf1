"""Gathering rows, and hooks that leave no trace."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cat_core.algorithm.selection import Selection
from cat_core.host.families.hooks import (
    changing,
    gather_control,
    gather_rows,
    hook_blocks,
    hooked,
    once,
    replaced,
    scatter_rows,
)

SELECTION = Selection(torch.tensor([[0, 3], [2, 4]]), 5)


@given(st.integers(0, 3), st.integers(0, 3), st.integers(1, 3), st.booleans())
def test_rows_of_selected_tokens_are_kept_and_all_others_around(before, after, dim, shared):
    shape = [1 if shared else 2, 2, 2, 2]
    shape[dim] = before + 5 + after
    tensor = torch.randn(shape)
    found = gather_rows(tensor, SELECTION, before, dim)
    for sample in range(2):
        rows = [*range(before), *(SELECTION.indices[sample] + before).tolist(), *range(before + 5, before + 5 + after)]
        source = tensor[0 if shared else sample]
        assert torch.equal(found[sample], source.index_select(dim - 1, torch.tensor(rows)))


@given(st.integers(0, 3), st.integers(0, 3))
def test_scattering_puts_rows_back_and_zeros_elsewhere(before, after):
    tokens = torch.randn(2, before + 5 + after, 3)
    back = scatter_rows(gather_rows(tokens, SELECTION, before), SELECTION, before)
    kept = torch.ones(2, before + 5 + after, 1, dtype=torch.bool)
    kept[:, before : before + 5] = SELECTION.mask()
    assert torch.equal(back, torch.where(kept, tokens, 0.0))


def test_the_first_block_enters_the_last_leaves_and_every_one_is_changed():
    options = {"patches_replace": {"other": {}}, "more": 1}
    slots = [("double_block", 0), ("double_block", 1), ("single_block", 0)]
    add = lambda number: changing(img=lambda value: value + number)  # noqa: E731
    hooks = hook_blocks(options, slots, enter=add(1), each=add(10), leave=add(100))
    assert options == {"patches_replace": {"other": {}}, "more": 1}
    assert hooks["more"] == 1
    run = [hooks["patches_replace"]["dit"][slot]({"img": 0}, {"original_block": dict})["img"] for slot in slots]
    assert run == [11, 10, 110]


def test_blocks_with_nothing_to_do_are_not_hooked():
    slots = [("double_block", i) for i in range(4)]
    hooks = hook_blocks({}, slots, enter=dict, leave=dict)["patches_replace"]["dit"]
    assert list(hooks) == [slots[0], slots[3]]


def test_missing_arguments_stay_missing():
    assert changing(pe=len, mask=len)({"pe": None, "img": 1}) == {"pe": None, "img": 1}


def test_the_same_tensor_is_changed_once():
    calls = []
    function = once(lambda value: calls.append(value) or value + 1)
    first, second = torch.zeros(1), torch.ones(1)
    assert function(first) is function(first)
    assert function(second).item() == 2
    assert len(calls) == 2


def test_module_hooks_act_inside_the_context_only_even_after_an_error():
    module = torch.nn.Linear(2, 2)
    x = torch.randn(1, 2)
    plain = module(x)

    def doubled(args, kwargs):
        return (2 * args[0],), kwargs

    with hooked([(module, doubled)], [(module, lambda output: output + 1)]):
        assert torch.allclose(module(x), module.weight @ (2 * x[0]) + module.bias + 1)
    with pytest.raises(RuntimeError), hooked([(module, doubled)], []):
        raise RuntimeError
    assert torch.equal(module(x), plain)


def test_a_replaced_forward_comes_back_even_after_an_error():
    module = torch.nn.Linear(2, 2)
    with replaced([(module, lambda x: x)]):
        assert module(1) == 1
    with pytest.raises(RuntimeError), replaced([(module, lambda x: x)]):
        raise RuntimeError
    assert "forward" not in vars(module)
    assert module(torch.zeros(2)).shape == (2,)


def test_control_residuals_are_gathered_but_for_the_block_that_scatters():
    full, short = torch.randn(2, 5, 3), torch.randn(2, 3, 3)
    control = {"output": [full, None, short, full], "input": [full]}
    gathered = gather_control(control, "output", SELECTION, last=3)["output"]
    assert torch.equal(gathered[0], SELECTION.gather(full))
    assert gathered[1] is None
    padded = torch.cat((short, torch.zeros(2, 2, 3)), 1)
    assert torch.equal(gathered[2], SELECTION.gather(padded))
    assert gathered[3] is full
    assert gather_control(None, "output", SELECTION) is None
    assert control["input"] == [full]
