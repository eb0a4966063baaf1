"""What is remembered of a conditioning, and its answers, on torch alone."""

import pytest
import torch

from cat_core.algorithm.branch import Branch
from cat_core.algorithm.selection import Selection
from cat_core.settings import CATSettings

PLAIN = CATSettings(forecast=0.0, correction=0.0)
SELECTION = Selection(torch.tensor([[1, 3]]), 4)
X, DENOISED = torch.arange(8.0).view(1, 4, 2), torch.ones(1, 4, 2)


def noise(x, denoised, sigma):
    return (x - denoised) / sigma


def test_an_idle_step_holds_the_noise_of_the_full_one():
    branch = Branch(PLAIN)
    assert branch.answer_full(X, DENOISED, 2.0, 1.5) is DENOISED
    held = noise(X, DENOISED, 2.0)
    assert torch.equal(branch.answer_idle(X + 1, 1.5, 1.0), X + 1 - 1.5 * held)


def test_a_forecast_follows_the_trend_of_two_full_steps():
    branch = Branch(CATSettings(forecast=1.0, correction=0.0))
    branch.answer_full(X, X - 4.0 * 1.0, 4.0, 3.0)
    branch.answer_full(X, X - 3.0 * 2.0, 3.0, 2.0)
    # a reach as long as what is known moves on by half of the last change
    assert torch.allclose(branch.forecast(2.0), torch.full_like(X, 2.5))
    assert torch.equal(branch.reference, torch.full_like(X, 1.0))


def test_a_pruned_step_takes_the_selected_tokens_and_forecasts_the_others():
    branch, fresh = Branch(PLAIN), torch.full_like(X, 5.0)
    branch.answer_full(X, DENOISED, 2.0, 1.5)
    held = noise(X, DENOISED, 2.0)
    answer = branch.answer_pruned(X, fresh, 1.5, 1.0, SELECTION)
    assert torch.equal(answer, torch.where(SELECTION.mask(), fresh, X - 1.5 * held))
    # and what was computed is held from then on
    assert torch.equal(branch.forecast(1.0), torch.where(SELECTION.mask(), noise(X, fresh, 1.5), held))


def test_the_change_of_selected_tokens_is_carried_to_the_others():
    branch, fresh = Branch(PLAIN), torch.full_like(X, 5.0)
    branch.answer_full(X, DENOISED, 2.0, 1.5)
    held = noise(X, DENOISED, 2.0)
    change = SELECTION.gather(noise(X, fresh, 1.5) - held)
    answer = branch.answer_pruned(X, fresh, 1.5, 1.0, SELECTION, lambda moved: moved.mean(1, keepdim=True))
    expected = X - 1.5 * (held + change.mean(1, keepdim=True))
    assert torch.allclose(answer, torch.where(SELECTION.mask(), fresh, expected))


@pytest.mark.parametrize(("after", "corrected"), [(0.5, True), (0.0, False)])
def test_a_wrong_forecast_is_made_good_but_not_by_a_step_to_zero(after, corrected):
    branch = Branch(CATSettings(forecast=0.0, correction=1.0))
    branch.answer_full(X, DENOISED, 2.0, 1.5)
    branch.answer_idle(X, 1.5, 1.0)
    fresh = DENOISED + 3
    assert torch.equal(branch.answer_full(X, fresh, 1.0, after), fresh) != corrected


def test_nothing_is_known_before_a_full_step():
    branch = Branch(PLAIN)
    with pytest.raises(AssertionError, match="first step"):
        branch.answer_idle(X, 1.0, 0.5)
    assert branch.bytes == 0
    branch.answer_full(X, DENOISED, 2.0, 1.5)
    assert branch.bytes > 0
