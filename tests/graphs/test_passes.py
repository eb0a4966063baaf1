"""Several samplers, parts of runs, and nodes that change the model: it works, or it is computed in full and says why.

Conditionings, guidance and batches have files of their own. Every graph is built twice, without and with CAT Pruning,
and sampled by the host's executor. With a keep ratio of one the latents are equal. With tokens pruned and with idle
steps alone they stay near; how near, random weights cannot tell of trained ones.
"""

from dataclasses import dataclass

import pytest
import torch

from graphs.host_graph import IDLE, TOKENS, Graph

pytestmark = pytest.mark.usefixtures("pack")

STEPS = 12
NEAR = 0.5
"""Relative distance of latents. Unrelated ones are 1 and more apart."""
ANSWERED = "answered by another node, or left out by the sampler"


class Wiring:
    """A graph under construction, with or without CAT Pruning in it."""

    def __init__(self, knobs=None):
        self.graph, self.knobs = Graph(), knobs
        self.model = self.graph("SmallModel")
        self.sampled = None

    def __call__(self, kind, **inputs):
        return self.graph(kind, **inputs)

    def cat(self, model):
        """The place of CAT Pruning."""
        if self.knobs is not None:
            model = self("CATPruning", model=model, settings=self("CATPruningSettings", **self.knobs))
        self.sampled = model
        return model

    def other(self, kind, after, **inputs):
        """Another node beside CAT Pruning, behind or in front of it."""
        patched = self(kind, model=self.cat(self.model) if after else self.model, **inputs)
        self.sampled = patched if after else self.cat(patched)
        return self.sampled

    def prompt(self, seed=1, tokens=7):
        return self("SmallPrompt", seed=seed, tokens=tokens)

    def sigmas(self):
        return self("BasicScheduler", model=self.model, scheduler="simple", steps=STEPS)

    def ksampler(self, model=None, **inputs):
        return self.graph.ksampler(model or self.cat(self.model), **{"steps": STEPS, **inputs})

    def custom(self, guider, latent=None, sigmas=None, **inputs):
        return self(
            "SamplerCustomAdvanced",
            noise=self("RandomNoise", noise_seed=3),
            guider=self(guider, **inputs),
            sampler=self("KSamplerSelect", sampler_name="euler"),
            sigmas=sigmas or self.sigmas(),
            latent_image=latent or self("SmallLatent"),
        )


def mask(wiring, value=1.0, width=128, height=128):
    """White in the left half, or all over."""
    whole = wiring("SolidMask", value=0.0, width=128, height=128)
    half = wiring("SolidMask", value=value, width=width, height=height)
    return wiring("MaskComposite", destination=whole, source=half, x=0, y=0, operation="add")


def advanced(wiring, model, latent, start, end, noise="enable", rest="disable"):
    inputs = {"add_noise": noise, "noise_seed": 3, "steps": STEPS, "cfg": 4.0, "return_with_leftover_noise": rest}
    inputs |= {"sampler_name": "euler", "scheduler": "simple", "start_at_step": start, "end_at_step": end}
    prompts = {"positive": wiring.prompt(1), "negative": wiring.prompt(2)}
    return wiring("KSamplerAdvanced", model=model, latent_image=latent, **inputs, **prompts)


def in_two_halves(wiring):
    model = wiring.cat(wiring.model)
    first = advanced(wiring, model, wiring("SmallLatent"), 0, 6, rest="enable")
    return advanced(wiring, model, first, 6, 10000, noise="disable")


def upscaled(wiring):
    model = wiring.cat(wiring.model)
    larger = wiring("LatentUpscaleBy", samples=wiring.ksampler(model), upscale_method="bicubic", scale_by=1.5)
    return wiring.ksampler(model, latent_image=larger, denoise=0.6)


def inpainted(wiring, model):
    latent = wiring("SetLatentNoiseMask", samples=wiring("SmallLatent", picture=True), mask=mask(wiring, width=64))
    return wiring.ksampler(model, latent_image=latent)


def unsampled(wiring):
    # neither from zero nor up to one, where the host divides by what is left of the picture or the noise
    later = wiring("SplitSigmas", sigmas=wiring.sigmas(), step=2)[1]
    backwards = wiring("FlipSigmas", sigmas=wiring("SplitSigmas", sigmas=later, step=STEPS - 3))
    inputs = {"model": wiring.cat(wiring.model), "conditioning": wiring.prompt()}
    return wiring.custom("BasicGuider", wiring("SmallLatent", picture=True), backwards, **inputs)


def split_sigmas(wiring):
    model = wiring.cat(wiring.model)
    parts = wiring("SplitSigmas", sigmas=wiring.sigmas(), step=6)
    guided = {"model": model, "positive": wiring.prompt(1), "negative": wiring.prompt(2), "cfg": 4.0}
    first = wiring.custom("CFGGuider", sigmas=parts, **guided)
    inputs = {"noise": wiring("DisableNoise"), "guider": wiring("CFGGuider", **guided), "sigmas": parts[1]}
    return wiring(
        "SamplerCustomAdvanced", sampler=wiring("KSamplerSelect", sampler_name="euler"), latent_image=first, **inputs
    )


@dataclass(frozen=True)
class Item:
    """What to build: ``build(wiring)`` gives the latent. ``reason``: what the report must say, in which knobs."""

    build: object
    tokens: str | None = None
    idle: str | None = None
    whole: bool = False
    """Whether the reason is for the whole run, which is then equal to the one without CAT Pruning."""


CACHING = {"reuse_threshold": 0.2, "start_percent": 0.15, "end_percent": 0.95, "verbose": False}
WINDOWS = {"context_length": 8, "context_overlap": 2, "dim": 2, "context_schedule": "standard_static"}
NODES = {
    "ModelSamplingSD3": ({"shift": 5.0}, None, None),
    "ModelSamplingDiscrete": ({"sampling": "v_prediction", "zsnr": False}, None, None),
    "TomePatchModel": ({"ratio": 0.3}, None, None),
    "HyperTile": ({"tile_size": 256, "swap_size": 2, "max_depth": 0, "scale_depth": False}, None, None),
    "EasyCache": (CACHING, None, None),
    "LazyCache": (CACHING, None, ANSWERED),
    "DifferentialDiffusion": ({"strength": 1.0}, None, None),
    "ModelComputeDtype": ({"dtype": "fp32"}, None, None),
}
ITEMS = {
    "alone": Item(lambda w: w.ksampler()),
    "odd sizes": Item(lambda w: w.ksampler(latent_image=w("SmallLatent", batch=2, height=13, width=19))),
    "two halves of KSamplerAdvanced": Item(in_two_halves),
    "part of the steps": Item(
        lambda w: advanced(w, w.cat(w.model), w("SmallLatent", picture=True), 3, 10, rest="enable")
    ),
    "split sigmas": Item(split_sigmas),
    "unsampling": Item(unsampled, "sigmas do not fall", "sigmas do not fall", whole=True),
    "a picture": Item(lambda w: w.ksampler(latent_image=w("SmallLatent", picture=True), denoise=0.6)),
    "a second sampler at another size": Item(upscaled),
    "inpainting": Item(lambda w: inpainted(w, w.cat(w.model))),
    "differential inpainting": Item(lambda w: inpainted(w, w.other("DifferentialDiffusion", False, strength=1.0))),
    "context windows": Item(
        lambda w: w.ksampler(
            w.other(
                "ContextWindowsManual", False, **WINDOWS, context_stride=1, closed_loop=False, fuse_method="pyramid"
            )
        ),
        "context windows",
        "context windows",
        whole=True,
    ),
}
for kind, (inputs, tokens, idle) in NODES.items():
    for after in (False, True):
        ITEMS[f"{kind} {'after' if after else 'before'}"] = Item(
            lambda w, k=kind, a=after, i=inputs: w.ksampler(w.other(k, a, **i)), tokens, idle
        )


def sampled(item, knobs=None):
    """The latent and, of a patched model, the report."""
    wiring = Wiring(knobs)
    latent = item.build(wiring)
    (samples,) = wiring.graph.run(latent)
    if knobs is None:
        return samples, None
    return samples, wiring.graph.report(wiring.sampled, latent)


@pytest.mark.parametrize("name", ITEMS)
def test_keeping_all_tokens_changes_nothing(name):
    stock, _ = sampled(ITEMS[name])
    assert torch.equal(sampled(ITEMS[name], {"keep_ratio": 1.0})[0], stock)


@pytest.mark.parametrize("kind", ["tokens", "idle"])
@pytest.mark.parametrize("name", ITEMS)
def test_pruned_it_stays_near_or_says_why_not(name, kind):
    item = ITEMS[name]
    stock, _ = sampled(item)
    pruned, report = sampled(item, TOKENS if kind == "tokens" else IDLE)
    expected = [getattr(item, kind)] if getattr(item, kind) else []
    assert len(report["reasons"]) == len(expected), report["reasons"]
    assert all(reason in said for reason, said in zip(expected, report["reasons"], strict=True)), report["reasons"]
    assert report["finished"]
    assert pruned.isfinite().all()
    if item.whole:
        assert torch.equal(pruned, stock)
        return
    assert report["steps"]["pruned"] + report["steps"]["idle"] > 0
    assert 0 < float((pruned - stock).norm() / stock.norm()) < NEAR
