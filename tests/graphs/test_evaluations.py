"""What other nodes make of the sampler's evaluations: other noise levels, other latents, parts of the latent.

The stand-ins do what published nodes do: a sampler around the sampler, a guider of another class, a wrapper around
every call. Each run must be the unpatched one with a reason, or as near to it as any pruned one.
"""

import comfy.samplers
import comfy.utils
import pytest
import torch

from cat_core.host.demo import LATENT_CHANNELS, load_demo
from cat_core.host.patcher import attach, last_report
from cat_core.settings import PRESETS
from cat_core.similarity import psnr

STEPS, SIDE = 28, 16
AGAIN = "in full: a noise level is evaluated more often than the sampler does by itself"
PARTS = "in full: the latent is evaluated in parts"
NEAR = 35
"""dB; where steps are left out beside another node's changes."""


@pytest.fixture(scope="module")
def demo():
    with torch.inference_mode():
        model, clip, vae = load_demo()
        conds = [clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in ("red apple on purple", "")]
        return model, conds, vae


def sampler_around(change):
    """A sampler that hands the model to euler with ``change(model)`` in between, as nodes that wrap samplers do."""

    def sample_with_a_change(model, x, sigmas, **kwargs):
        inner = comfy.samplers.ksampler("euler").sampler_function
        return inner(change(model), x, sigmas, **kwargs)

    return comfy.samplers.KSAMPLER(sample_with_a_change)


def other_levels(amount):
    """Noise levels are told smaller in the middle of the run, as Detail Daemon does."""

    def change(model):
        def call(x, sigma, **kwargs):
            return model(x, sigma * (1 - 0.1 * amount * 4 * sigma * (1 - sigma)), **kwargs)

        return Passing(model, call)

    return change


def lying(share):
    """All noise levels are told by a constant share smaller, as Lying Sigma does."""
    return lambda model: Passing(model, lambda x, sigma, **kwargs: model(x, sigma * share, **kwargs))


def quarters(model):
    """Four tiles at a noise level, one after another."""

    def call(x, sigma, **kwargs):
        rows = [torch.cat([model(tile, sigma, **kwargs) for tile in row.chunk(2, 3)], 3) for row in x.chunk(2, 2)]
        return torch.cat(rows, 2)

    return Passing(model, call)


def second_latent(model):
    """A guide's latent is evaluated before the run's own at every noise level."""

    def call(x, sigma, **kwargs):
        guide = torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
        model(x.lerp(guide, 0.5), sigma, **kwargs)
        return model(x, sigma, **kwargs)

    return Passing(model, call)


def inner_steps(model):
    """The latent is moved and evaluated twice more at every noise level, as Langevin steps do."""

    def call(x, sigma, **kwargs):
        for _ in range(2):
            denoised = model(x, sigma, **kwargs)
            x = x + 0.05 * (denoised - x)
        return model(x, sigma, **kwargs)

    return Passing(model, call)


class Passing:
    """The model's wrapper for samplers, with another call; all else of it is as it was."""

    def __init__(self, model, call):
        self.model, self.call = model, call

    def __call__(self, x, sigma, **kwargs):
        return self.call(x, sigma, **kwargs)

    def __getattr__(self, name):
        return getattr(self.model, name)


def sample(model, conds, sampler, sigmas=None, guider=comfy.samplers.CFGGuider):
    guided = guider(model)
    guided.set_conds(*conds)
    guided.set_cfg(4.0)
    noise = torch.randn(1, LATENT_CHANNELS, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    if sigmas is None:
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)
    with torch.inference_mode():
        return guided.sample(noise, torch.zeros_like(noise), sampler, sigmas, disable_pbar=True, seed=3)


def side_by_side(demo, sampler, preset, change=lambda model: model, sigmas=None):
    """Similarity of the pictures in dB, and the report."""
    model, conds, vae = demo
    stock = sample(change(model.clone()), conds, sampler, sigmas)
    pruned = attach(change(model.clone()), PRESETS[preset])
    latent = sample(pruned, conds, sampler, sigmas)
    report = last_report(pruned)
    assert report.finished
    with torch.inference_mode():
        return psnr(vae.decode(latent), vae.decode(stock)), report


def is_in_full(found, reason):
    likeness, report = found
    assert any(one.startswith(reason) for one in report.reasons), report.reasons
    assert report.count("full") == len(report.steps)
    assert likeness == float("inf")


presets = pytest.mark.parametrize("preset", ["quality", "balanced"])


@presets
@pytest.mark.parametrize(
    "change", [other_levels(0.5), other_levels(2.0), lying(0.95), lying(1.03)], ids=["a little", "much", "less", "more"]
)
def test_noise_levels_that_are_changed_on_the_way_are_near_or_in_full(demo, change, preset):
    likeness, report = side_by_side(demo, sampler_around(change), preset)
    assert likeness > NEAR
    assert [step.kind for step in report.steps[:2]] == ["full", "full"]
    assert any("a sampler that is not known" in note for note in report.notes)


@presets
@pytest.mark.parametrize(
    ("change", "reason"),
    [(quarters, PARTS), (second_latent, AGAIN), (inner_steps, AGAIN)],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_other_latents_at_a_noise_level_are_in_full(demo, change, reason, preset):
    is_in_full(side_by_side(demo, sampler_around(change), preset), reason)


@presets
def test_inner_steps_of_a_guider_beside_a_known_sampler_are_in_full(demo, preset):
    """A guider's method that a node replaced moves the latent and evaluates it again, before the pack's wrappers."""
    model, conds, _ = demo

    class Inner(comfy.samplers.CFGGuider):
        def __call__(self, x, *args, **kwargs):
            denoised = super().__call__(x, *args, **kwargs)
            return super().__call__(x + 0.05 * (denoised - x), *args, **kwargs)

    pruned = attach(model, PRESETS[preset])
    latents = [sample(each, conds, comfy.samplers.ksampler("euler"), guider=Inner) for each in (model, pruned)]
    is_in_full((psnr(*latents), last_report(pruned)), AGAIN)


@presets
@pytest.mark.parametrize("moving", [False, True], ids=["stacked", "moving"])
def test_tiles_of_a_wrapper_around_every_call_are_in_full(demo, moving, preset):
    """Four tiles in one call, or the whole latent rolled by another place at every step."""

    def wrapper(apply_model, given):
        x, t, c = given["input"], given["timestep"], given["c"]
        if moving:
            place = int(float(t.flatten()[0]) * 7) % SIDE
            return apply_model(x.roll(place, 3), t, **c).roll(-place, 3)
        tiles = [tile for row in x.chunk(2, 2) for tile in row.chunk(2, 3)]
        stacked = {
            name: value.repeat(4, *(1,) * (value.ndim - 1)) if torch.is_tensor(value) else value
            for name, value in c.items()
        }
        one, two, three, four = apply_model(torch.cat(tiles), t.repeat(4), **stacked).chunk(4)
        return torch.cat([torch.cat([one, two], 3), torch.cat([three, four], 3)], 2)

    def change(model):
        model.set_model_unet_function_wrapper(wrapper)
        return model

    is_in_full(
        side_by_side(demo, comfy.samplers.ksampler("euler"), preset, change), "in full: another node wraps every call"
    )


@presets
@pytest.mark.parametrize("sigmas", [[1.0, 0.9, 0.92, 0.5, 0.0], [0.0, 1.0, 0.5, 0.0], [0.0, 0.0]], ids=str)
def test_schedules_that_do_not_fall_are_in_full(demo, sigmas, preset):
    model, conds, _ = demo
    pruned = attach(model, PRESETS[preset])
    levels = torch.tensor(sigmas)
    one, other = (sample(each, conds, comfy.samplers.ksampler("euler"), levels) for each in (model, pruned))
    assert torch.equal(one.nan_to_num(), other.nan_to_num())
    assert "in full: its sigmas do not fall from step to step" in last_report(pruned).reasons


@presets
def test_what_is_not_a_tensor_passes_through(demo, preset):
    """A node's guider may give a pair of predictions."""
    model, conds, _ = demo

    class Pair(comfy.samplers.CFGGuider):
        def predict_noise(self, *args, **kwargs):
            return super().predict_noise(*args, **kwargs), "more"

        def __call__(self, *args, **kwargs):
            denoised, more = super().__call__(*args, **kwargs)
            assert more == "more"
            return denoised

    latent = sample(attach(model, PRESETS[preset]), conds, comfy.samplers.ksampler("euler"), guider=Pair)
    assert latent.isfinite().all()
