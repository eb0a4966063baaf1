"""Several samplers, parts of runs, and nodes that change the model: it works, or it is computed in full and says why.

Conditionings, guidance and batches have files of their own. Every graph is built twice, without and with CAT Pruning,
and sampled by the host's executor. With a keep ratio of one the latents are equal. With tokens pruned and with idle
steps alone every sampling run equals its dense one, and the latent stays near; how near, random weights cannot tell of
trained ones.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pytest
import torch

from graphs.host_graph import IDLE, TOKENS, Build, dense, relative, side_by_side

pytestmark = [pytest.mark.usefixtures("pack"), pytest.mark.host]

STEPS = 12
KNOBS = {"tokens": TOKENS, "idle": IDLE}
PLANNED = {"tokens": "fffppfppfppf", "idle": "fffififififf"}
INSTEAD = "ffffifififif"
"""Where a pruned step was planned first and given up there."""
SAME = 1e-4
"""Relative distance of latents that only differ in how the processor rounds; measured up to 1e-6."""
NEAR = 0.34
"""Relative distance to the latent without CAT Pruning: twice the largest measured."""
OPTION = "idle steps in place of pruned ones: the model is given the options easycache"
PATCHES = (
    "idle steps in place of pruned ones: another node adds to transformer blocks (attn1_output_patch, attn1_patch)"
)
LAZY = "in full: LazyCache leaves out steps by how much the model's answers change"
FALL = "in full: its sigmas do not fall from step to step"
WINDOWED = "in full: context windows move over the latent"


class Wiring:
    """A graph under construction; ``place`` puts CAT Pruning behind a model, or nothing."""

    def __init__(self, graph, place):
        self.graph, self.place = graph, place
        self.model = graph("SmallModel")
        self.sampled = None

    def __call__(self, kind, **inputs):
        return self.graph(kind, **inputs)

    def cat(self, model):
        """The place of CAT Pruning."""
        self.sampled = self.place(model)
        return self.sampled

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
        return self.graph.custom(self(guider, **inputs), sigmas or self.sigmas(), latent)


def mask(wiring, value=1.0, width=128, height=128):
    """White in the left half, or all over."""
    whole = wiring("SolidMask", value=0.0, width=128, height=128)
    half = wiring("SolidMask", value=value, width=width, height=height)
    return wiring("MaskComposite", destination=whole, source=half, x=0, y=0, operation="add")


def in_two_halves(wiring):
    model = wiring.cat(wiring.model)
    first = wiring.graph.part(model, wiring("SmallLatent"), STEPS, 0, 6, rest="enable")
    return wiring.graph.part(model, first, STEPS, 6, 10000, noise="disable")


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
    """What to build, and what is to come of it.

    Attributes:
        draw: gives the latent of a :class:`Wiring`.
        kinds: of the steps of every sampling run, by knobs; one run as planned if not given.
        reasons: of the last run, by knobs.
        whole: whether all runs are in full, and the latent is equal to the one without CAT Pruning.
    """

    draw: Callable[[Wiring], Any]
    kinds: dict[str, list[str]] = field(default_factory=dict)
    reasons: dict[str, list[str]] = field(default_factory=dict)
    whole: bool = False

    @cached_property
    def build(self) -> Build:
        def build(graph, cat):
            wiring = Wiring(graph, cat)
            latent = self.draw(wiring)
            return wiring.sampled, latent

        return build


HALVES = {"tokens": ["fffppf"] * 2, "idle": ["fffiff"] * 2}
FULL = {key: ["f" * STEPS] for key in KNOBS}
ATTENTION = {"kinds": {"tokens": [INSTEAD]}, "reasons": {"tokens": [PATCHES]}}
CACHING = {"reuse_threshold": 0.2, "start_percent": 0.15, "end_percent": 0.95, "verbose": False}
WINDOWS = {"context_length": 8, "context_overlap": 2, "dim": 2, "context_schedule": "standard_static"}
WINDOWS |= {"context_stride": 1, "closed_loop": False, "fuse_method": "pyramid"}
ITEMS = {
    "alone": Item(lambda w: w.ksampler()),
    "odd sizes": Item(lambda w: w.ksampler(latent_image=w("SmallLatent", batch=2, height=13, width=19))),
    "two halves of KSamplerAdvanced": Item(in_two_halves, HALVES),
    "part of the steps": Item(
        lambda w: w.graph.part(w.cat(w.model), w("SmallLatent", picture=True), STEPS, 3, 10, rest="enable"),
        {"tokens": ["fffpfpf"], "idle": ["ffffiff"]},
    ),
    "split sigmas": Item(split_sigmas, HALVES),
    "unsampling": Item(unsampled, {key: ["ff"] for key in KNOBS}, {key: [FALL] for key in KNOBS}, whole=True),
    "a picture": Item(lambda w: w.ksampler(latent_image=w("SmallLatent", picture=True), denoise=0.6)),
    "a second sampler at another size": Item(upscaled, {kind: [PLANNED[kind]] * 2 for kind in KNOBS}),
    "inpainting": Item(lambda w: inpainted(w, w.cat(w.model))),
    "differential inpainting": Item(lambda w: inpainted(w, w.other("DifferentialDiffusion", False, strength=1.0))),
    "context windows": Item(
        lambda w: w.ksampler(w.other("ContextWindowsManual", False, **WINDOWS)),
        FULL,
        {key: [WINDOWED] for key in KNOBS},
        whole=True,
    ),
}
NODES = {
    "ModelSamplingSD3": ({"shift": 5.0}, {}),
    "ModelSamplingDiscrete": ({"sampling": "v_prediction", "zsnr": False}, {}),
    # for attention of UNets, which these models have none of
    "TomePatchModel": ({"ratio": 0.3}, ATTENTION),
    "HyperTile": ({"tile_size": 256, "swap_size": 2, "max_depth": 0, "scale_depth": False}, ATTENTION),
    "EasyCache": (CACHING, {"kinds": {"tokens": [INSTEAD]}, "reasons": {"tokens": [OPTION]}}),
    "DifferentialDiffusion": ({"strength": 1.0}, {}),
    "ModelComputeDtype": ({"dtype": "fp32"}, {}),
}
for kind, (inputs, expected) in NODES.items():
    for after in (False, True):
        ITEMS[f"{kind} {'after' if after else 'before'}"] = Item(
            lambda w, k=kind, a=after, i=inputs: w.ksampler(w.other(k, a, **i)), **expected
        )
for after in (False, True):
    ITEMS[f"LazyCache {'after' if after else 'before'}"] = Item(
        lambda w, a=after: w.ksampler(w.other("LazyCache", a, **CACHING)),
        FULL,
        {kind: [LAZY] for kind in KNOBS},
        whole=True,
    )


@pytest.mark.parametrize("name", ITEMS)
def test_keeping_all_tokens_changes_nothing(name):
    side = side_by_side(ITEMS[name].build, keep_ratio=1.0)
    assert torch.equal(side.pruned, side.stock)


@pytest.mark.parametrize("kind", KNOBS)
@pytest.mark.parametrize("name", ITEMS)
def test_pruned_it_equals_the_dense_runs_or_is_in_full_and_says_why(name, kind):
    item = ITEMS[name]
    side = side_by_side(item.build, **KNOBS[kind])
    assert ["".join(step.kind[0] for step in run.steps) for run in side.runs] == item.kinds.get(kind, [PLANNED[kind]])
    assert side.run.reasons == item.reasons.get(kind, [])
    assert all(run.finished for run in side.runs)
    if item.whole:
        assert torch.equal(side.pruned, side.stock)
        return
    assert 1e-3 < side.difference < NEAR
    assert relative(side.pruned, dense(item.build, *side.runs, **KNOBS[kind])) < SAME
