"""Attach CAT Pruning to a clone of a model, take it off again, and read what the last run did."""

from __future__ import annotations

import hashlib
import logging
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy.samplers import CFGGuider
from comfy_api.torch_helpers.torch_compile import COMPILE_KEY

from ..report import Report
from ..settings import PRESETS, CATSettings
from .call import ModelCall
from .families import find_family
from .memory import announced
from .preview import latent_preview
from .run import Run

KEY = "cat_pruning"
KEPT_REPORTS = 16

log = logging.getLogger(__name__)


@dataclass
class Attachment:
    """What a patched model carries between runs: its settings and its last run's report, no tensors of a run.

    Settings of None are those of the preset that the model's family names. Reports are of the last runs, the latest
    last, each with the fingerprint of the latent that it made.
    """

    settings: CATSettings | None
    again: bool = False
    """Whether the model carried CAT Pruning already when it was attached."""
    on_report: Callable[[Report], None] | None = None
    """Called with the report of every run when it ends."""
    reports: deque[tuple[bytes | None, Report]] = field(default_factory=lambda: deque(maxlen=KEPT_REPORTS))

    def on_model_patcher_clone(self) -> Attachment:
        """A clone made by another node has the settings, and reports of its own (``comfy/model_patcher.py: clone``)."""
        return Attachment(self.settings, self.again, self.on_report)


def attach(
    model: ModelPatcher, settings: CATSettings | None = None, on_report: Callable[[Report], None] | None = None
) -> ModelPatcher:
    """Return a clone of ``model`` whose sampling runs are pruned; ``model`` itself stays as it is.

    Settings of None take the preset that the model's family names, and preset quality for all other models. A model
    that carries CAT Pruning already gets the new settings only. A model that cannot be pruned is returned attached all
    the same: it samples as before and its report says why. ``on_report`` gets every run's report when it ends.
    """
    if KEY in model.attachments:
        log.info("CAT Pruning was applied before; the later settings are used.")
    clone = detach(model)
    clone.set_attachments(KEY, Attachment(settings, KEY in model.attachments, on_report))
    for kind, wrapper in _WRAPPERS.items():
        clone.add_wrapper_with_key(kind, KEY, wrapper)
    if settings and settings.selects_tokens and (reason := _reason_against_tokens(clone)):
        log.warning("CAT Pruning has no effect: %s.", reason)
    return clone


def detach(model: ModelPatcher) -> ModelPatcher:
    """Return a clone of ``model`` without CAT Pruning."""
    clone = model.clone()
    clone.remove_attachments(KEY)
    for kind in _WRAPPERS:
        clone.remove_wrappers_with_key(kind, KEY)
    return clone


def last_report(model: ModelPatcher) -> Report | None:
    """Report of the last run of exactly this patched model, or None before its first run.

    Raises:
        ValueError: the model does not carry CAT Pruning.
    """
    reports = _reports(model)
    return reports[-1][1] if reports else None


def report_of(model: ModelPatcher, latent: torch.Tensor) -> Report | None:
    """Report of the run of this patched model that made a latent [B, C, (T,) H, W], or None.

    Raises:
        ValueError: the model does not carry CAT Pruning.
    """
    wanted = _fingerprint(latent)
    return next((report for made, report in reversed(_reports(model)) if made == wanted), None)


def _reports(model: ModelPatcher) -> deque[tuple[bytes | None, Report]]:
    attachment = model.get_attachment(KEY)
    if attachment is None:
        raise ValueError(
            "This model does not carry CAT Pruning, or it is switched off: "
            "connect the model that went into the sampler."
        )
    return attachment.reports


def _fingerprint(latent: torch.Tensor) -> bytes:
    return hashlib.blake2b(latent.detach().float().cpu().contiguous().numpy().tobytes()).digest()


def _reason_against_tokens(model: ModelPatcher) -> str | None:
    """Why this model can have no pruned steps, or None. Idle steps need its output only: every model can have them."""
    transformer = model.get_model_object("diffusion_model")
    family = find_family(transformer)
    if family is None:
        what = f"{type(transformer).__name__} is not a supported diffusion transformer"
    elif not family.compilable and model.get_wrappers(WrappersMP.APPLY_MODEL, COMPILE_KEY):
        what = f"a compiled {family.name} cannot be pruned"
    else:
        return None
    return f"{what} (preset quality, which computes no parts of steps, works)"


def _settled(model: ModelPatcher) -> tuple[CATSettings, str | None]:
    """The settings of a run, and why they must not be followed, or None."""
    settings, reason = model.get_attachment(KEY).settings, _reason_against_tokens(model)
    if settings is None:
        family = find_family(model.get_model_object("diffusion_model"))
        return PRESETS["quality" if family is None or reason else family.preset], None
    return settings, reason if settings.selects_tokens else None


def _outer_sample(executor, noise, latent_image, sampler, sigmas, *args: Any, **kwargs: Any) -> torch.Tensor:
    guider = executor.class_obj
    attachment = guider.model_patcher.get_attachment(KEY)
    transformer = guider.model_patcher.get_model_object("diffusion_model")
    settings, reason = _settled(guider.model_patcher)
    if "context_handler" in guider.model_options:
        reason = reason or "context windows move over the latent"
    family = find_family(transformer)
    run = Run(settings, family, transformer, sigmas.tolist(), guider, tuple(noise.shape), reason)
    # the host does not evaluate it then (comfy/samplers.py: sampling_function)
    if type(guider) is CFGGuider and math.isclose(guider.cfg, 1.0):
        run.left_out = {"negative"}
    if attachment.again:
        run.note("CAT Pruning is applied more than once, the last settings are used")
    # the host made these options for this run alone (comfy/samplers.py: CFGGuider.sample)
    options = guider.model_options["transformer_options"]
    options[KEY] = run
    made = None
    try:
        output = executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
        made = _fingerprint(output)
        run.report.preview = latent_preview(guider.model_patcher.get_model_object("latent_format"), output)
        return output
    finally:
        options.pop(KEY, None)
        attachment.reports.append((made, run.close(finished=made is not None)))
        log.info("CAT Pruning on %s: %s", run.report.family, run.report.summary())
        if attachment.on_report:
            attachment.on_report(run.report)


def _prepare_sampling(executor, model, noise_shape, conds, model_options: dict | None = None) -> Any:
    """The host plans its memory here: tell it of the caches."""
    run = (model_options or {}).get("transformer_options", {}).get(KEY)
    if run is not None:
        evaluated = [cond for name, part in conds.items() if name not in run.left_out for cond in part]
        needed = run.expected_bytes(noise_shape, evaluated, model.model)
        noise_shape = announced(noise_shape, needed, model.model)
    return executor(model, noise_shape, conds, model_options=model_options)


def _predict_noise(executor, x, timestep, model_options: dict | None = None, seed: int | None = None) -> torch.Tensor:
    model_options = model_options or {}
    run = model_options.get("transformer_options", {}).get(KEY)
    if run is not None:
        run.begin_evaluation(timestep.flatten()[0].item())  # the one host read of an evaluation
    return executor(x, timestep, model_options, seed)


def _apply_model(
    executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs: Any
) -> torch.Tensor:
    options = transformer_options or {}
    run = options.get(KEY)
    call = ModelCall(executor, x, t, c_concat, c_crossattn, control, options, kwargs)
    return call.run() if run is None else run.call(call)


_WRAPPERS = {
    WrappersMP.OUTER_SAMPLE: _outer_sample,
    WrappersMP.PREPARE_SAMPLING: _prepare_sampling,
    WrappersMP.PREDICT_NOISE: _predict_noise,
    WrappersMP.APPLY_MODEL: _apply_model,
}
