"""What the inputs of the host's sampling nodes stand for, as :class:`~cat_core.host.sampled.Sampled`."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import comfy.sample
import numpy as np
import torch
from comfy.model_patcher import ModelPatcher
from comfy.samplers import CFGGuider, KSampler, sampler_object

from .sampled import Sampled


def make_guider(model: ModelPatcher, positive: list, negative: list | None, cfg: float) -> CFGGuider:
    """The guider of the node KSampler (``comfy/samplers.py``); without a negative prompt there is no CFG."""
    guider = CFGGuider(model)
    if negative is None:
        guider.inner_set_conds({"positive": positive})
    else:
        guider.set_conds(positive, negative)
    guider.set_cfg(1.0 if negative is None else cfg)
    return guider


def sample_like_ksampler(
    guider: Any, latent: dict[str, Any], steps: int, sampler_name: str, scheduler: str, denoise: float
) -> Sampled:
    """What the node KSampler samples."""
    model = guider.model_patcher

    def sigmas_of(number: int) -> torch.Tensor:
        return KSampler(model, number, model.load_device, sampler_name, scheduler, denoise).sigmas

    latent = _fit(latent, model)
    return Sampled(guider, sampler_object(sampler_name), sigmas_of, steps, latent, _draw_noise(latent))


def sample_like_custom(
    guider: Any, latent: dict[str, Any], sampler: Any, sigmas: torch.Tensor, noise: Any = None
) -> Sampled:
    """What the node SamplerCustomAdvanced samples; without ``noise`` that of a seed.

    Raises:
        ValueError: there is no step.
    """
    if len(sigmas) < 2:
        raise ValueError("sigmas must be of one step or more.")
    latent = _fit(latent, guider.model_patcher)
    noise_of = _draw_noise(latent) if noise is None else _draw_noise_of(noise, latent)
    return Sampled(guider, sampler, lambda number: resample(sigmas, number), len(sigmas) - 1, latent, noise_of)


def resample(sigmas: torch.Tensor, steps: int) -> torch.Tensor:
    """Noise levels [n + 1] for another number of steps [steps + 1]: the same curve, read at other places."""
    before, ends_at_zero = len(sigmas) - 1, sigmas[-1] == 0
    if steps == before:
        return sigmas
    positive = sigmas[:-1] if ends_at_zero else sigmas
    # the curve may span four decades: between its points it is a straight line in the logarithm
    places = np.minimum(np.linspace(0, before, steps + 1)[: steps + (not ends_at_zero)], len(positive) - 1)
    read = np.exp(np.interp(places, np.arange(len(positive)), positive.double().log().cpu().numpy()))
    return torch.cat([torch.from_numpy(read).to(sigmas), sigmas[len(positive) :]])


def _fit(latent: dict[str, Any], model: ModelPatcher) -> dict[str, Any]:
    """The latent with the model's channels; what else the host knows it by is of its version."""
    known = inspect.signature(comfy.sample.fix_empty_latent_channels).parameters
    ratios = {name: value for name, value in latent.items() if name in known}
    return {**latent, "samples": comfy.sample.fix_empty_latent_channels(model, latent["samples"], **ratios)}


def _draw_noise(latent: dict[str, Any]) -> Callable[[int], Any]:
    return lambda seed: comfy.sample.prepare_noise(latent["samples"], seed, latent.get("batch_index"))


def _draw_noise_of(noise: Any, latent: dict[str, Any]) -> Callable[[int], Any]:
    """By a noise object of the host's kind (``comfy_extras/nodes_custom_sampler.py``), with other seeds."""

    def draw(seed: int) -> Any:
        seeded = copy.copy(noise)
        seeded.seed = seed
        return seeded.generate_noise(latent)

    return draw
