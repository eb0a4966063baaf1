"""Gathering rows and putting them back."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from cat_core.algorithm.selection import Selection
from cat_core.host.architecture.rows import gather_control, gather_rows, scatter_rows

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
