"""Every sampler and scheduler that the host lists."""

import comfy.samplers
import pytest
import torch

from cat_core.host.patcher import attach, last_report
from cat_core.settings import CATSettings
from graphs.host_graph import IDLE, TOKENS, dense_model, evaluated_once, relative
from small import conditioning, noise_for, small_model

SAMPLERS, SCHEDULERS = comfy.samplers.SAMPLER_NAMES, comfy.samplers.SCHEDULER_NAMES
FIRST = [(sampler, scheduler) for sampler in SAMPLERS for scheduler in ("simple", "karras")]
FIRST += [("euler", scheduler) for scheduler in SCHEDULERS if scheduler not in ("simple", "karras")]
REST = [pair for sampler in SAMPLERS for scheduler in SCHEDULERS if (pair := (sampler, scheduler)) not in FIRST]
SAME = 1e-4
"""Relative distance of latents that only differ in how the processor rounds; measured up to 2e-6."""
MORE = ("heun", "exp_heun", "dpm_", "dpmpp_2s", "dpmpp_sde", "seeds", "sa_solver_pece")
AGAIN = {name for name in SAMPLERS if name.startswith(MORE)}
"""Samplers that evaluate a step more than once: no dense run knows what the second look changes."""
LEFT_OUT = {"tokens": "pruned", "idle": "idle"}
SETTINGS = {"all": {"keep_ratio": 1.0}, "tokens": TOKENS, "idle": IDLE}


@pytest.fixture(scope="module")
def model():
    return small_model()


@torch.no_grad()
def run(model, sampler, scheduler):
    """12 steps of a small picture; the noise that the sampler draws is from the global generator and its seed."""
    noise = noise_for(1, 8, 8)
    torch.manual_seed(7)
    arguments = (model, noise, 12, 4.0, sampler, scheduler, conditioning(1), conditioning(2), torch.zeros_like(noise))
    picture = comfy.sample.sample(*arguments, disable_pbar=True, seed=1)
    return picture, torch.random.get_rng_state()


def check(model, sampler, scheduler):
    stock, drawn = run(model, sampler, scheduler)
    for name, knobs in SETTINGS.items():
        pruned = attach(model, CATSettings(**knobs))
        picture, also_drawn = run(pruned, sampler, scheduler)
        # random numbers are the sampler's alone
        assert torch.equal(drawn, also_drawn), name
        report = last_report(pruned)
        assert report.finished
        if name == "all" or (report.reasons and report.count("full") == len(report.steps)):
            assert torch.equal(picture, stock) or stock.isnan().any(), name
            continue
        # a step that is looked at again may be a part of either
        assert report.count("full") < len(report.steps), name
        if not stock.isfinite().all():
            continue
        assert picture.isfinite().all(), name
        if sampler not in AGAIN:
            assert evaluated_once(report), name
            assert report.count(LEFT_OUT[name]) > 0, name
            dense, _ = run(dense_model(model, report, report.settings), sampler, scheduler)
            assert relative(picture, dense) < SAME, name
    return stock


@pytest.mark.parametrize(("sampler", "scheduler"), FIRST, ids="-".join)
def test_every_sampler_and_every_scheduler(model, sampler, scheduler):
    assert check(model, sampler, scheduler).isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_with_every_other_scheduler(model, sampler):
    for name, scheduler in REST:
        if name == sampler:
            check(model, sampler, scheduler)


class Drawn:
    """The noise that an SDE sampler draws."""

    def __init__(self, monkeypatch):
        self.noise = []
        original = comfy.k_diffusion.sampling.default_noise_sampler

        def recorded(x, seed=None):
            draw = original(x, seed=seed)

            def sampler(*arguments):
                self.noise.append(draw(*arguments))
                return self.noise[-1]

            return sampler

        monkeypatch.setattr(comfy.k_diffusion.sampling, "default_noise_sampler", recorded)


@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_2s_ancestral", "lcm", "ddpm"])
@pytest.mark.parametrize("knobs", [TOKENS, IDLE], ids=["tokens", "idle"])
def test_the_noise_that_a_sampler_adds_is_the_stock_one(monkeypatch, model, sampler, knobs):
    drawn = Drawn(monkeypatch)
    run(model, sampler, "simple")
    stock, drawn.noise = drawn.noise, []
    run(attach(model, CATSettings(**knobs)), sampler, "simple")
    assert len(stock) == len(drawn.noise) > 5
    assert all(torch.equal(one, other) for one, other in zip(stock, drawn.noise, strict=True))
