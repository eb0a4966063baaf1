"""One graph's sampling, to be run again and again with other settings, seeds and numbers of steps."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy.utils import pack_latents

from ..algorithm.replay import Recording
from ..report import Report
from ..settings import CATSettings
from .architecture import find_family
from .choice import Occasion
from .patcher import KEY, attach, detach, is_guided, last_report
from .recorder import Recorder


@dataclass(frozen=True)
class Sampled:
    """What a graph samples.

    Attributes:
        guider: the host's, with its conditionings and model.
        sampler: the host's sampler object.
        sigmas_of: noise levels [steps + 1] of so many steps.
        steps: of the graph's own run.
        latent: the host's dictionary.
        noise_of: noise of a seed.
        on_step: is called after every step of a run, with the share of the run that is done.
    """

    guider: Any
    sampler: Any
    sigmas_of: Callable[[int], torch.Tensor]
    steps: int
    latent: dict[str, Any]
    noise_of: Callable[[int], Any]
    on_step: Callable[[float], None] = lambda share: None

    @property
    def occasion(self) -> Occasion:
        """What a run that starts knows of itself, for settings that are kept for others like it."""
        model, samples = self.guider.model_patcher, self.latent["samples"]
        packed = pack_latents(samples.unbind())[0] if samples.is_nested else samples
        family = find_family(model.get_model_object("diffusion_model"))
        sigmas = self.sigmas_of(self.steps).tolist()
        return Occasion(model, family, self.sampler, sigmas, tuple(packed.shape), is_guided(self.guider))

    def run(self, seed: int, settings: CATSettings | None, steps: int | None = None) -> Trial:
        """Sample once; settings of None compute every step in full."""
        base = self.guider.model_patcher
        model = detach(base) if settings is None else attach(base, settings)
        return self._run(model, seed, steps or self.steps)

    def record(self, seed: int) -> tuple[Trial, Recording | None]:
        """Sample once in full, and keep what idle steps can be tried on."""
        model, recorder = detach(self.guider.model_patcher), Recorder(self.sigmas_of(self.steps).tolist())
        model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "cat_pruning_recorder", recorder)
        return self._run(model, seed, self.steps), recorder.recording()

    def _run(self, model: ModelPatcher, seed: int, steps: int) -> Trial:
        guider = copy.copy(self.guider)
        guider.model_patcher, guider.model_options = model, model.model_options
        started = time.perf_counter()
        samples = guider.sample(
            self.noise_of(seed),
            self.latent["samples"],
            self.sampler,
            self.sigmas_of(steps),
            denoise_mask=self.latent.get("noise_mask"),
            callback=lambda step, denoised, x, total: self.on_step((step + 1) / total),
            disable_pbar=True,
            seed=seed,
        )
        samples = samples.to(comfy.model_management.intermediate_device())
        seconds = time.perf_counter() - started
        carries = model.get_attachment(KEY) is not None
        return Trial(samples, seconds, last_report(model) if carries else None)


@dataclass(frozen=True)
class Trial:
    """A run's latent, its seconds, and its report where CAT Pruning took part."""

    samples: Any
    seconds: float
    report: Report | None

    @property
    def cost(self) -> float:
        """Share of what the run had computed in full: MACs, or steps where these cannot be counted."""
        if self.report is None:
            return 1.0
        done, whole = self.report.macs()
        return done / whole if whole else self.report.count("full") / max(len(self.report.steps), 1)
