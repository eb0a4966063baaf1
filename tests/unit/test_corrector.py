"""The corrector of forecasts."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from cat_core.algorithm.corrector import Corrector

SHAPE = (2, 3, 4)
COMPUTED, FORECAST = torch.ones(1, dtype=torch.bool), torch.zeros(1, dtype=torch.bool)


def levels(steps: int) -> list[float]:
    return [1 - 0.9 * i / steps for i in range(steps + 1)]


def walk(sigmas: list[float], answers: list[torch.Tensor]) -> torch.Tensor:
    """Euler from 1: x + (x - denoised) / sigma * (next sigma - sigma) for every answer."""
    x = torch.full(SHAPE, 0.3, dtype=torch.float64)
    for sigma, after, denoised in zip(sigmas, sigmas[1:], answers, strict=False):
        x = x + (x - denoised) / sigma * (after - sigma)
    return x


def random_tokens(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def corrected(sigmas, computed, truth, share=1.0) -> list[torch.Tensor]:
    """What the sampler is given when ``computed`` [steps, B, N, 1] of ``truth`` is known and the rest is guessed."""
    corrector = Corrector(truth[0], sigmas[0], share)
    answers = [truth[0]]
    for step in range(1, len(sigmas) - 1):
        seen = torch.where(computed[step], truth[step], random_tokens(100 + step))
        weight = 1 / sigmas[step + 1] - 1 / sigmas[step]
        answers.append(corrector.settle(seen, sigmas[step], weight, computed[step]))
    return answers


@given(st.integers(2, 12), st.integers(0, 1000))
def test_after_a_computed_step_the_sampler_is_where_it_would_be(steps, seed):
    """The denoised latent runs on a line of its own for every token; which tokens are computed when is random."""
    sigmas = levels(steps)
    truth = [random_tokens(1) + sigma * random_tokens(2) for sigma in sigmas[:-1]]
    chance = torch.rand(steps, *SHAPE[:2], 1, generator=torch.Generator().manual_seed(seed))
    computed = chance < 0.4
    computed[-1] = True
    assert torch.allclose(walk(sigmas, corrected(sigmas, computed, truth)), walk(sigmas, truth), atol=1e-9)


def test_half_a_share_makes_good_half_of_it():
    sigmas = levels(3)
    truth = [random_tokens(1) + sigma * random_tokens(2) for sigma in sigmas[:-1]]
    computed = torch.tensor([True, False, True]).view(3, 1, 1, 1)
    ends = [walk(sigmas, corrected(sigmas, computed, truth, share)) for share in (0.0, 0.5, 1.0)]
    assert torch.allclose(ends[1], (ends[0] + ends[2]) / 2)
    assert not torch.allclose(ends[0], ends[2])


def test_a_forecast_is_given_as_it_is_and_a_computed_step_without_debt_too():
    corrector = Corrector(random_tokens(1), 1.0, 1.0)
    for step, computed in enumerate((COMPUTED, COMPUTED, FORECAST)):
        given_tokens = random_tokens(step)
        assert torch.equal(corrector.settle(given_tokens, 0.9 - step / 10, 0.2, computed), given_tokens)


def test_a_debt_is_paid_once():
    corrector = Corrector(random_tokens(1), 1.0, 1.0)
    corrector.settle(random_tokens(2), 0.8, 0.2, FORECAST)
    assert not torch.equal(corrector.settle(random_tokens(3), 0.6, 0.2, COMPUTED), random_tokens(3))
    assert torch.equal(corrector.settle(random_tokens(4), 0.4, 0.2, COMPUTED), random_tokens(4))
