"""Attach CAT Pruning to a clone of a model, take it off again, and read what the last run did."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers.torch_compile import COMPILE_KEY

from ..report import Report
from ..settings import PRESETS, CATSettings
from .families import find_family
from .run import ModelCall, Run

KEY = "cat_pruning"

log = logging.getLogger(__name__)


@dataclass
class Attachment:
    """What a patched model carries between runs: its settings and its last run's report, no tensors of a run.

    Settings of None are those of the preset that the model's family names.
    """

    settings: CATSettings | None
    report: Report | None = None

    def on_model_patcher_clone(self) -> Attachment:
        """A clone made by another node has the settings, and reports of its own (``comfy/model_patcher.py: clone``)."""
        return Attachment(self.settings)


def attach(model: ModelPatcher, settings: CATSettings | None = None) -> ModelPatcher:
    """Return a clone of ``model`` whose sampling runs are pruned; ``model`` itself stays as it is.

    Settings of None take the preset that the model's family names, and preset quality for all other models. A model
    that carries CAT Pruning already gets the new settings only. A model that cannot be pruned is returned attached all
    the same: it samples as before and its report says why.
    """
    if KEY in model.attachments:
        log.info("CAT Pruning was applied before; the later settings are used.")
    clone = detach(model)
    clone.set_attachments(KEY, Attachment(settings))
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
    attachment = model.get_attachment(KEY)
    if attachment is None:
        raise ValueError(
            "This model does not carry CAT Pruning, or it is switched off: "
            "connect the model that went into the sampler."
        )
    return attachment.report


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
    run = Run(settings, find_family(transformer), transformer, sigmas.tolist(), reason)
    # the host made these options for this run alone (comfy/samplers.py: CFGGuider.sample)
    options = guider.model_options["transformer_options"]
    options[KEY] = run
    finished = False
    try:
        output = executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
        finished = True
        return output
    finally:
        options.pop(KEY, None)
        attachment.report = run.close(finished)
        log.info("CAT Pruning on %s: %s", attachment.report.family, attachment.report.summary())


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
    WrappersMP.PREDICT_NOISE: _predict_noise,
    WrappersMP.APPLY_MODEL: _apply_model,
}
