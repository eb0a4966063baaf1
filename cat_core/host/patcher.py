"""Attach CAT Pruning to a clone of a model, take it off again, and read what the last run did."""

from __future__ import annotations

import hashlib
import logging
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy.samplers import CFGGuider
from comfy.utils import pack_latents

from ..algorithm.schedule import count_whole_steps
from ..report import Report
from ..settings import PRESETS, CATSettings, name_changes
from .architecture import Family, find_family
from .call import ModelCall, unwrap_compiled
from .choice import Choice, Chooser, Occasion
from .inpainting import focus_on_repainted
from .journal import IDLE_INSTEAD
from .known import KEY, find_unknown_in_patcher, is_compiled_in_parts
from .memory import inflate_noise_shape
from .preview import latent_preview
from .run import Run
from .samplers import find_solver

KEPT_REPORTS = 16
AUTOMATIC_WITHOUT_TOKENS = "quality"
"""The preset that every model can have."""

log = logging.getLogger(__name__)


@dataclass
class Attachment:
    """What a patched model carries between runs: its settings and its last run's report, no tensors of a run.

    Settings of None are those of the preset that the model's family names; others may be chosen for every run. Reports
    are of the last runs, the latest last, each with the fingerprint of the latent that it made.
    """

    settings: CATSettings | Chooser | None
    again: bool = False
    """Whether the model carried CAT Pruning already when it was attached."""
    on_report: Callable[[Report], None] | None = None
    """Called with the report of every run when it ends."""
    against_tokens: str | None = None
    """Why there must be no pruned steps, where whoever attached it knows more than can be seen of the model."""
    reports: deque[tuple[bytes | None, Report]] = field(default_factory=lambda: deque(maxlen=KEPT_REPORTS))

    def on_model_patcher_clone(self) -> Attachment:
        """Clones share the reports, which are told apart by their latents: the host makes clones even in a sampler."""
        return self

    def choose(self, run: Occasion) -> Choice:
        """Settings for a run that starts."""
        return self.settings(run) if callable(self.settings) else Choice(self.settings)


def attach(
    model: ModelPatcher,
    settings: CATSettings | Chooser | None = None,
    on_report: Callable[[Report], None] | None = None,
    against_tokens: str | None = None,
) -> ModelPatcher:
    """Return a clone of ``model`` whose sampling runs are pruned; ``model`` itself stays as it is.

    Settings of None take the preset that the model's family names, and preset quality for all other models; a function
    is asked for them when a run starts. A model that carries CAT Pruning already gets the new settings only. Where
    tokens cannot be computed by themselves there are idle steps instead, and the report says why. ``on_report`` gets
    every run's report when it ends. ``against_tokens`` tells of a reason that the model does not show.

    Example::

        faster = attach(model, PRESETS["quality"], on_report=lambda report: print(report.text()))
    """
    if KEY in model.attachments:
        log.info("CAT Pruning was applied before; the later settings are used.")
    clone = detach(model)
    clone.set_attachments(KEY, Attachment(settings, KEY in model.attachments, on_report, against_tokens))
    for kind, wrapper in _WRAPPERS.items():
        clone.add_wrapper_with_key(kind, KEY, wrapper)
    wanted = isinstance(settings, CATSettings) and settings.selects_tokens
    if wanted and (reason := reason_against_tokens(clone)):
        log.warning("CAT Pruning, %s: %s.", IDLE_INSTEAD, reason)
    return clone


def detach(model: ModelPatcher) -> ModelPatcher:
    """Return a clone of ``model`` without CAT Pruning."""
    clone = model.clone()
    clone.remove_attachments(KEY)
    for kind in _WRAPPERS:
        clone.remove_wrappers_with_key(kind, KEY)
    return clone


def last_report(model: ModelPatcher) -> Report | None:
    """Report of the last run of this patched model or of a clone of it, or None before the first.

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


def _fingerprint(latent: Any) -> bytes:
    """Of a latent as float16, which the host may round it to; sounds and videos in one are packed as it packs them."""
    packed = pack_latents(latent.unbind())[0] if latent.is_nested else latent
    return hashlib.blake2b(packed.detach().to(torch.float16).cpu().contiguous().numpy().tobytes()).digest()


def reason_against_tokens(model: ModelPatcher) -> str | None:
    """Why this model can have no pruned steps, or None. Idle steps need its output only: every model can have them."""
    attachment = model.get_attachment(KEY)
    if attachment is not None and attachment.against_tokens is not None:
        return attachment.against_tokens
    transformer = unwrap_compiled(model.get_model_object("diffusion_model"))
    if find_family(transformer) is None:
        return f"{type(transformer).__name__} is not a supported diffusion transformer"
    if count_devices(model) > 1 and is_compiled_in_parts(model):
        # what keeps compiled code away from a call does so in all threads (torch.compiler.set_stance)
        return "several GPUs share a compiled model"
    if transformer is not model.get_model_object("diffusion_model") and not hasattr(torch.compiler, "set_stance"):
        return "parts of a compiled model cannot be computed (torch 2.6 and later can)"
    return find_unknown_in_patcher(model)


def count_devices(model: ModelPatcher) -> int:
    """How many share the conditionings of a run (``comfy/sampler_helpers.py``); older hosts know of one only."""
    additional = getattr(model, "get_additional_models_with_key", None)
    copies = additional("multigpu") if additional else []
    return 1 + sum(copy.is_multigpu_base_clone for copy in copies)


def _reason_against_all(model_options: dict[str, Any]) -> str | None:
    """Why a run must be computed in full, or None."""
    if "context_handler" in model_options:
        return "context windows move over the latent"
    if "model_function_wrapper" in model_options:
        return "another node wraps every call of the model, and may give it other latents"
    wrappers = model_options.get("transformer_options", {}).get("wrappers", {})
    if wrappers.get(WrappersMP.PREDICT_NOISE, {}).get("lazycache"):
        # a forecast hardly changes: it would take that for the model's answer, and never call the model again
        return "LazyCache leaves out steps by how much the model's answers change"
    return None


def _choose_settings(
    settings: CATSettings | None, model: ModelPatcher, family: Family | None, noise_mask: torch.Tensor | None
) -> tuple[CATSettings, str | None]:
    """The settings of a run, those given if any are, and why there must be no pruned steps in it, or None."""
    reason = reason_against_tokens(model)
    if settings is not None:
        return settings, reason
    settings = PRESETS[AUTOMATIC_WITHOUT_TOKENS if family is None or reason else family.preset]
    return (focus_on_repainted(settings, noise_mask) if settings.selects_tokens else settings), None


def _outer_sample(executor, noise, latent_image, sampler, sigmas, *args: Any, **kwargs: Any) -> torch.Tensor:
    guider = executor.class_obj
    attachment = guider.model_patcher.get_attachment(KEY)
    noise_mask = _further("denoise_mask", args, kwargs)
    packed = _further("latent_shapes", args, kwargs, place=4) or ()
    run = _start(guider, attachment, tuple(noise.shape), sampler, sigmas.tolist(), noise_mask, packed)
    # the host made these options for this run alone (comfy/samplers.py: CFGGuider.sample)
    options = guider.model_options["transformer_options"]
    options[KEY] = run
    output = None
    try:
        output = executor(noise, latent_image, sampler, sigmas, *args, **kwargs)
        return output
    finally:
        options.pop(KEY, None)
        _end(run, attachment, guider.model_patcher, output)


def _start(
    guider: Any,
    attachment: Attachment,
    noise_shape: tuple[int, ...],
    sampler: Any,
    sigmas: list[float],
    noise_mask: torch.Tensor | None,
    packed: Sequence[tuple[int, ...]],
) -> Run:
    patcher, solver = guider.model_patcher, find_solver(sampler)
    steps = count_whole_steps(sigmas, _noise_levels(patcher))
    family = find_family(patcher.get_model_object("diffusion_model"))
    if "denoise_mask_function" in guider.model_options:
        noise_mask = None  # another node changes it from step to step
    guided = is_guided(guider)
    choice = attachment.choose(Occasion(patcher, family, sampler, sigmas, noise_shape, guided))
    settings, against_tokens = _choose_settings(choice.settings, patcher, family, noise_mask)
    against_all = _reason_against_all(guider.model_options) or solver.against
    # idle steps in place of measured pruned ones were not measured
    measured = choice.measured and not (against_tokens and settings.selects_tokens)
    bounded = settings if measured else solver.bound(settings, steps, guided)
    sampled = sigmas, guider, noise_shape, solver, packed, count_devices(patcher)
    run = Run(bounded, family, patcher.model, *sampled, against_tokens, against_all)
    for note in (*choice.notes, run.schedule.note_on_names()):
        if note:
            run.journal.note(note)
    if run.active and bounded != settings:
        changes = ", ".join(name_changes(settings, bounded))
        run.journal.note(f"for {steps} steps of a sampler that {solver.kind}: {changes}")
    # the host does not evaluate it then (comfy/samplers.py: sampling_function)
    if type(guider) is CFGGuider and not guided:
        run.left_out = {"negative"}
    if choice.settings is None and bounded.focus_mask is not None:
        run.journal.note("what is repainted is computed between refreshes, and a ring around it")
    if attachment.again:
        run.journal.note("CAT Pruning is applied more than once, the last settings are used")
    return run


def _noise_levels(model: ModelPatcher) -> list[float]:
    """A model's noise levels at even times, rising (``comfy/model_sampling.py``); none where it has no such table."""
    levels = getattr(model.get_model_object("model_sampling"), "sigmas", None)
    return [] if levels is None else levels.tolist()


def is_guided(guider: Any) -> bool:
    """Whether more than one prompt makes the answer; of guiders that are not the host's, that is taken for granted."""
    # the host makes the one of the other when it samples
    conds = getattr(guider, "conds", None) or guider.original_conds
    return set(conds) != {"positive"} and not (type(guider) is CFGGuider and math.isclose(guider.cfg, 1.0))


def _end(run: Run, attachment: Attachment, model: ModelPatcher, output: torch.Tensor | None) -> None:
    """File a run's report. What goes wrong here must neither cost the picture nor hide the run's own error."""
    report, made = run.report, None
    with _warning():
        run.close(finished=output is not None)
    if output is not None:
        with _warning():
            made = _fingerprint(output)
            latent = run.conditionings.grid(output.shape).unpack(output)
            report.preview = latent_preview(model.get_model_object("latent_format"), latent)
    attachment.reports.append((made, report))
    log.info("CAT Pruning on %s: %s", report.family, report.summary())
    if attachment.on_report:
        with _warning():
            attachment.on_report(report)


@contextmanager
def _warning() -> Iterator[None]:
    try:
        yield
    except Exception:
        log.warning("CAT Pruning could not tell all of what it did.", exc_info=True)


def _prepare_sampling(executor, model, noise_shape, conds, *args: Any, **kwargs: Any) -> Any:
    """The host plans its memory here: tell it of the caches."""
    model_options = _further("model_options", args, kwargs)
    run = (model_options or {}).get("transformer_options", {}).get(KEY)
    if run is not None and run.active:
        evaluated = [cond for name, part in conds.items() if name not in run.left_out for cond in part]
        needed = run.pruning.estimate_bytes(noise_shape, evaluated, model.model)
        noise_shape = inflate_noise_shape(noise_shape, needed, model.model)
    return executor(model, noise_shape, conds, *args, **kwargs)


def _further(name: str, args: tuple, kwargs: dict[str, Any], place: int = 0) -> Any:
    """One of further arguments, or None: hosts give it by name or place, and other nodes may hand it on so."""
    return kwargs.get(name, args[place] if len(args) > place else None)


def _predict_noise(executor, x, timestep, model_options: dict | None = None, *args: Any, **kwargs: Any) -> torch.Tensor:
    run = (model_options or {}).get("transformer_options", {}).get(KEY)
    if run is not None:
        # the one host read of an evaluation
        run.begin_evaluation(timestep.flatten()[0].item(), tuple(x.shape))
    return executor(x, timestep, model_options, *args, **kwargs)


def _apply_model(
    executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, *args: Any, **kwargs: Any
) -> torch.Tensor:
    options = transformer_options or {}
    run = options.get(KEY)
    call = ModelCall(executor, x, t, c_concat, c_crossattn, control, options, kwargs, args)
    return call.run() if run is None else run.call(call)


_WRAPPERS = {
    WrappersMP.OUTER_SAMPLE: _outer_sample,
    WrappersMP.PREPARE_SAMPLING: _prepare_sampling,
    WrappersMP.PREDICT_NOISE: _predict_noise,
    WrappersMP.APPLY_MODEL: _apply_model,
}
