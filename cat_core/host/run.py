"""One sampling run: what is remembered from step to step, and what each model call does with it."""

from __future__ import annotations

import logging
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from comfy.model_management import OOM_EXCEPTION

from ..algorithm.corrector import Corrector
from ..algorithm.schedule import Schedule, StepKind
from ..algorithm.selection import Selection
from ..caching.kv import KVCache
from ..caching.noise import NoiseCache
from ..report import Call, Report, Step
from ..settings import CATSettings
from .attention import CapturingAttention, PrunedAttention
from .branches import Branch, Branches
from .call import Key, ModelCall
from .families.family import OVERRIDE, Family
from .memory import Place, cached_values, places

log = logging.getLogger(__name__)


class Run:
    """State of one sampling run, made when it starts and closed when it ends, however it ends.

    Args:
        settings: the knobs.
        family: the model's architecture, or None where it is not known.
        transformer: the model's diffusion transformer.
        sigmas: the run's noise levels.
        guider: the host's guider, which knows the conditionings.
        noise_shape: [B, C, (T,) H, W] of the whole latent.
        reason: why this run must not be pruned, or None.
    """

    def __init__(
        self,
        settings: CATSettings,
        family: Family | None,
        transformer: torch.nn.Module,
        sigmas: list[float],
        guider: Any,
        noise_shape: tuple[int, ...],
        reason: str | None = None,
    ):
        self.settings, self.family, self.transformer = settings, family, transformer
        self.schedule = Schedule(sigmas, settings)
        cost = family.cost(transformer) if family else None
        self.report = Report(family.name if family else type(transformer).__name__, settings, cost)
        self.active = self._allowed(reason or self.schedule.reason_against())
        patch = family.patch(transformer) if family else (1, 1, 1)
        self.branches = Branches(settings, patch, guider, noise_shape)
        self.steps: dict[int, Step] = {}
        self.step = -1
        self.sigma = 0.0
        self.correcting = settings.correction > 0
        self.places: list[Place] = places(settings)
        self.left_out: set[str] = set()
        """Names of the guider's conditionings that are not evaluated."""
        self.seen: set[Key] = set()
        self.started = time.perf_counter()

    def _allowed(self, reason: str | None) -> bool:
        """Note why something runs in full, once each; True if there is no reason."""
        if reason and reason not in self.report.reasons:
            self.report.reasons.append(reason)
            log.info("CAT Pruning runs in full: %s", reason)
        return reason is None

    def note(self, text: str) -> None:
        """Tell something that does not change what is computed, once."""
        if text not in self.report.notes:
            self.report.notes.append(text)
            log.info("CAT Pruning: %s", text)

    def begin_evaluation(self, sigma: float) -> None:
        """The sampler asks for the noise at ``sigma``: find the step, and forget the last step's selections."""
        self.sigma = sigma
        self.seen.clear()
        step = self.schedule.step(sigma)
        if step <= self.step:
            # what a forecast contributed is not known of samplers that evaluate a step again
            self.correcting = False
        if step != self.step:
            self.step = step
            self.branches.next_step()
            # samplers may come back to a step
            if step not in self.steps:
                self.steps[step] = Step(step, sigma)
                self.report.steps.append(self.steps[step])

    def call(self, call: ModelCall) -> torch.Tensor:
        """Answer one model call: in full, pruned, or from the forecast alone."""
        if self.step < 0 or not call.keys:
            self._allowed("the host calls the model outside its samplers' usual path")
            return call.run()
        kind = self.schedule.kinds[self.step]
        if not self.active or not self._allowed(self._reason_against(call, kind)):
            self._count(call, call_tokens=self._tokens(call))
            return call.run()
        self.seen.update(call.keys)
        for key in call.keys:
            if key in self.branches:
                self.branches[key].called_at = self.step
        if kind is not StepKind.FULL and not self._allowed(self._reason_for_full(call, kind)):
            kind = StepKind.FULL
        answer = {StepKind.FULL: self._full, StepKind.PRUNED: self._pruned, StepKind.IDLE: self._idle}[kind]
        try:
            return answer(call)
        except OOM_EXCEPTION:
            # the host's own memory is short: what the caches take may be what it lacks
            if call.control or not self.cached:
                raise
            self.places.clear()
            self._move_caches("memory ran out beside the cached keys and values")
        return self._full(call)

    def _reason_against(self, call: ModelCall, kind: StepKind) -> str | None:
        """Why this call must not touch what is remembered."""
        if self.seen.intersection(call.keys):
            return "a conditioning is evaluated more than once at a step (another guidance node does this)"
        if call.x.ndim not in (4, 5):
            return f"latents of {call.x.ndim} dimensions are not supported"
        if self.sigma <= 0:
            return "the sampler asks for a noise level of zero"
        if self.family is None:
            return None
        return self.family.refuses(self.transformer, {**call.extra, "control": call.control}, call.options)

    def _reason_for_full(self, call: ModelCall, kind: StepKind) -> str | None:
        """Why this call of a pruned or idle step must be computed in full."""
        branches = [self.branches.get(key) for key in call.keys]
        if any(branch is None or branch.noise is None for branch in branches):
            return "a conditioning starts in the middle of the run"
        if kind is StepKind.PRUNED and any(b is None or not b.kv.layers for b in branches):
            return "a conditioning has no cached keys and values at a pruned step"
        if any(branch is None or branch.context_shape != call.context_shape for branch in branches):
            return "a conditioning changes its length in the middle of the run"
        oldest = min(branch.computed_at for branch in branches if branch)
        if StepKind.FULL in self.schedule.kinds[oldest + 1 : self.step]:
            return "a step that was to be computed in full was answered by another node, or left out by the sampler"
        return None

    def _full(self, call: ModelCall) -> torch.Tensor:
        branches = [self.branches.get(key) or self.branches.add(key, self._cache(), self.step) for key in call.keys]
        with self._captured(call, branches) as options:
            denoised = call.run(options, call.control)
        self._count(call, branches[0].grid.tokens)
        outputs = []
        for branch, x, new in zip(branches, *self._parts(call, call.x, denoised), strict=True):
            outputs.append(self._settle(branch, new, new.new_ones(1, dtype=torch.bool)))
            tokens = branch.grid.to_tokens((x - new) / self.sigma)
            branch.context_shape, branch.computed_at = call.context_shape, self.step
            if branch.noise is None:
                branch.reference, branch.noise = tokens, NoiseCache(tokens, self.sigma)
            else:
                branch.reference = branch.noise.latest
                branch.noise.update(tokens, self.sigma)
        self.branches.refreshed(branches, self.step)
        self._note_memory()
        return torch.cat(outputs)

    def _captured(self, call: ModelCall, branches: list[Branch]) -> AbstractContextManager[dict[str, Any]]:
        """The options of a full call, which fills the K/V caches if the next computed step is a pruned one."""
        if self.family is None or not self.schedule.computes_next(self.step, StepKind.PRUNED):
            return nullcontext(call.options)
        if not (all(branch.kv.layers for branch in branches) or self._find_room(call)):
            return nullcontext(call.options)
        caches = [branch.kv for branch in branches]
        capture = CapturingAttention(caches, call.options.get(OVERRIDE), self._serves, self._out_of_memory)
        return self.family.attending(self.transformer, call.options, capture)

    def _find_room(self, call: ModelCall) -> bool:
        """Move the caches to the first place that is large enough for this call's; False if there is none."""
        assert self.report.cost is not None
        values = self.report.cost.cached(self._tokens(call), self._other_tokens(call)) * len(call.x)
        while self.places:
            problem = self.places[0].reason_too_small(values, call.model, call.x)
            if problem is None:
                return True
            self._move_caches(problem)
        return False

    def _out_of_memory(self) -> None:
        self._move_caches("memory ran out for keys and values")

    def _move_caches(self, problem: str) -> None:
        """Drop all keys and values; the next full step keeps them at the next place, if there is one."""
        del self.places[:1]
        for branch in self.branches.values():
            branch.kv = self._cache()
        if self.places:
            self.note(f"{problem}; they are kept {self.places[0]}")
        else:
            self._allowed(f"{problem} (preset quality keeps none)")

    def _cache(self) -> KVCache:
        return KVCache(self.places[0].dtype, self.places[0].device) if self.places else KVCache()

    @property
    def cached(self) -> bool:
        """Whether any keys and values are held."""
        return any(branch.kv.layers for branch in self.branches.values())

    def expected_bytes(self, noise_shape: torch.Size, conds: list[dict[str, Any]], model: Any) -> int:
        """Memory that the caches will take where the model runs.

        Args:
            noise_shape: [B, C, (T,) H, W].
            conds: the host's conditionings that will be evaluated.
            model: the host's ``BaseModel``.
        """
        if not self.active or self.family is None or StepKind.PRUNED not in self.schedule.kinds:
            return 0
        assert self.report.cost is not None
        values = cached_values(self.report.cost, self.branches.patch, noise_shape, conds)
        return 0 if self.places[0].device else self.places[0].bytes(values, model)

    def _serves(self, number: int) -> bool:
        return self.family is not None and self.family.attends_to_image(self.transformer, number)

    def _pruned(self, call: ModelCall) -> torch.Tensor:
        assert self.family is not None
        branches = [self.branches[key] for key in call.keys]
        step = self.steps[self.step]
        selections = [self.branches.selection(branch.group, step, self.sigma) for branch in branches]
        propagations = [
            self.branches.selectors[branch.group].propagation(selection)
            for branch, selection in zip(branches, selections, strict=True)
        ]
        whole_batch = Selection.joined(selections)
        caches = [branch.kv for branch in branches]
        attention = PrunedAttention(caches, call.options.get(OVERRIDE), self._serves, selections, propagations)
        with (
            self.family.prune(self.transformer, call.options, call.control, whole_batch, attention) as (hooks, control),
            self.family.attending(self.transformer, hooks, attention) as options,
        ):
            denoised = call.run(options, control)
        self._count(call, whole_batch.tokens, whole_batch.count)
        outputs = []
        parts = zip(branches, selections, propagations, *self._parts(call, call.x, denoised), strict=True)
        for branch, selection, propagation, x, new in parts:
            assert branch.noise is not None
            mask = selection.mask()
            noise = branch.grid.to_tokens((x - new) / self.sigma)
            forecast = branch.noise.at(self.sigma, self.settings.forecast)
            if propagation:
                forecast = forecast + propagation(selection.gather(noise - forecast))
            guess = x - self.sigma * branch.grid.to_latent(forecast)
            output = torch.where(branch.grid.to_latent(mask), new, guess)
            outputs.append(self._settle(branch, output, mask))
            branch.noise.update(noise, self.sigma, mask)
        return torch.cat(outputs)

    def _idle(self, call: ModelCall) -> torch.Tensor:
        branches = [self.branches[key] for key in call.keys]
        self._count(call, branches[0].grid.tokens, 0)
        outputs = []
        for branch, x in zip(branches, *self._parts(call, call.x), strict=True):
            forecast = self._forecast(branch, x)
            outputs.append(self._settle(branch, forecast, x.new_zeros(1, dtype=torch.bool)))
        return torch.cat(outputs)

    @staticmethod
    def _parts(call: ModelCall, *batches: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
        """Every batch cut into the call's conditionings."""
        return [batch.chunk(len(call.keys)) for batch in batches]

    def _forecast(self, branch: Branch, x: torch.Tensor) -> torch.Tensor:
        """Denoised latent of tokens that are not computed; noise is (x - denoised) / sigma, flow models' velocity."""
        assert branch.noise is not None
        return x - self.sigma * branch.grid.to_latent(branch.noise.at(self.sigma, self.settings.forecast))

    def _settle(self, branch: Branch, denoised: torch.Tensor, computed: torch.Tensor) -> torch.Tensor:
        """Let the corrector see a step's denoised latent; return what the sampler is to be given."""
        after = self.schedule.sigmas[self.step + 1]
        # a step down to zero forgets the past: what it is given is the picture
        if not self.correcting or after <= 0:
            return denoised
        tokens = branch.grid.to_tokens(denoised)
        if branch.corrector is None:
            branch.corrector = Corrector(tokens, self.sigma, self.settings.correction)
            return denoised
        weight = 1 / after - 1 / self.sigma
        return branch.grid.to_latent(branch.corrector.settle(tokens, self.sigma, weight, computed))

    def _tokens(self, call: ModelCall) -> int:
        return self.branches.grid(call.keys[0]).tokens

    def _count(self, call: ModelCall, call_tokens: int, computed: int | None = None) -> None:
        """Note the call in the report; ``computed`` None means all tokens."""
        computed = call_tokens if computed is None else computed
        samples, others = len(call.x) // len(call.keys), self._other_tokens(call)
        self.steps[self.step].calls += [Call(samples, call_tokens, computed, others) for _ in call.keys]

    def _other_tokens(self, call: ModelCall) -> int:
        text = 0 if call.context is None else call.context.shape[1]
        return self.family.other_tokens(self.transformer, text, call.extra) if self.family else text

    def _note_memory(self) -> None:
        self.report.cache_bytes = max(self.report.cache_bytes, self.branches.bytes)

    def close(self, finished: bool) -> Report:
        """End the run: drop every tensor and return the report."""
        self.branches.close(self.report)
        self.report.seconds = time.perf_counter() - self.started
        self.report.finished = finished
        return self.report
