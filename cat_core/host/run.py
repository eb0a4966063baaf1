"""One sampling run: its steps, and the way of each model call."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from ..algorithm.schedule import Schedule, StepKind
from ..algorithm.selection import LayoutError
from ..algorithm.solver import Solver
from ..report import Report, Step
from ..settings import CATSettings
from . import reasons
from .architecture.family import Family
from .call import Key, ModelCall, unwrap_compiled
from .clock import StepClock
from .conditionings import Conditioning, Conditionings
from .counting import count_rows
from .evaluations import Evaluations
from .journal import IDLE_INSTEAD, Journal
from .memory import is_out_of_memory, outside_of_traces
from .plan import NONE, Plan
from .pruning import Pruning


class Run:
    """State of one sampling run, made when it starts and closed when it ends, however it ends.

    Args:
        settings: the knobs.
        family: the model's architecture, or None where it is not known.
        model: the host's ``BaseModel`` that is sampled from.
        sigmas: the run's noise levels.
        guider: the host's guider, which knows the conditionings.
        noise_shape: [B, C, ...] of the whole latent.
        solver: what the run's sampler bears; ``settings`` ask for no more.
        packed: [B, C, ...] of every latent that the host packed into this one.
        devices: how many share its conditionings.
        against_tokens: why this run must have no pruned steps, or None.
        against_all: why it must be computed in full, or None.
    """

    def __init__(
        self,
        settings: CATSettings,
        family: Family | None,
        model: Any,
        sigmas: list[float],
        guider: Any,
        noise_shape: tuple[int, ...],
        solver: Solver,
        packed: Sequence[tuple[int, ...]] = (),
        devices: int = 1,
        against_tokens: str | None = None,
        against_all: str | None = None,
    ):
        # the model itself may still hold what another node put into another clone of it
        transformer = unwrap_compiled(guider.model_patcher.get_model_object("diffusion_model"))
        cost, patch = (family.cost(transformer), family.patch(transformer)) if family else (None, None)
        self.family, self.batch = family, noise_shape[0]
        self.report = Report(family.name if family else type(transformer).__name__, settings, cost)
        self.journal = Journal(self.report)
        tokens = settings.selects_tokens and self.journal.allows(against_tokens, IDLE_INSTEAD)
        settings = settings if tokens or not settings.selects_tokens else settings.without_tokens()
        self.schedule = Schedule(sigmas, settings)
        self.evaluations = Evaluations(self.schedule, solver, noise_shape)
        self.active = self.journal.allows(against_all or self.schedule.reason_against())
        self.conditionings = Conditionings(settings, patch, guider, packed)
        state = self.schedule, cost, self.conditionings, self.journal
        self.pruning = Pruning(family, model, settings, *state, noise_shape, devices, wanted=tokens)
        self.plan: Plan | None = None
        self.steps: dict[int, Step] = {}
        self.left_out: set[str] = set()
        """Names of the guider's conditionings that are not evaluated."""
        self.seen: set[Key] = set()
        self.started, self.clock = time.perf_counter(), StepClock(guider.model_patcher.load_device)

    def begin_evaluation(self, sigma: float, shape: tuple[int, ...]) -> None:
        """The sampler asks for the noise of a latent of a ``shape`` at ``sigma``: decide what its calls do."""
        self.seen.clear()
        # where one is not of the run's own latent, all that is remembered may be of another
        self.active = self.journal.allows(self.evaluations.begin(sigma, shape)) and self.active
        number, last = self.evaluations.number, self.plan
        warming_up = self.evaluations.warming_up
        chosen = last.choices if last and number == last.step.number else NONE
        choices = self.pruning.choose(number, sigma, chosen, warming_up)
        kind = StepKind.FULL if warming_up else self.schedule.kinds[number]
        after = self.schedule.sigmas[number + 1] if self.evaluations.correcting else 0.0
        self.plan = Plan(self._step(number, sigma), kind, sigma, after, choices)
        self.clock.begin(number)

    def _step(self, number: int, sigma: float) -> Step:
        # samplers may come back to a step
        if number not in self.steps:
            self.steps[number] = Step(number, sigma)
            self.report.steps.append(self.steps[number])
        return self.steps[number]

    def call(self, call: ModelCall) -> torch.Tensor:
        """Answer one model call: in full, pruned, or from the forecast alone."""
        plan = self.plan
        with self.conditionings.lock:
            kind = self._find_kind(call, plan)
        if plan is None or kind is None:
            return call.run()
        answer = {
            StepKind.FULL: self._answer_full,
            StepKind.PRUNED: self._answer_pruned,
            StepKind.IDLE: self._answer_idle,
        }[kind]
        try:
            return answer(call, plan)
        except LayoutError as error:
            self.pruning.give_up(str(error))
        except Exception as error:
            # the host's own memory is short: what the caches take may be what it lacks
            if not is_out_of_memory(error) or not self._abandon_caches(call):
                raise
        return self._answer_full(call, plan)

    def _find_kind(self, call: ModelCall, plan: Plan | None) -> StepKind | None:
        """How to answer a call; None for in full, and without touching what is remembered."""
        if plan is None or not call.keys:
            self.journal.allows("the host calls the model outside its samplers' usual path")
            return None
        if not self.active or not self.journal.allows(reasons.against_remembering(call, self.seen, plan, self.batch)):
            self._count(call, plan)
            return None
        self.seen.update(call.keys)
        for key in call.keys:
            if key in self.conditionings:
                self.conditionings[key].called_at = plan.step.number
        if self.pruning.wanted and not self.pruning.accepts(call):
            return StepKind.FULL
        if plan.kind is StepKind.FULL:
            return plan.kind
        reason = reasons.for_full(call, plan, self.schedule.kinds, self.conditionings, self.pruning.proof)
        return plan.kind if self.journal.allows(reason) else StepKind.FULL

    def _abandon_caches(self, call: ModelCall) -> bool:
        """Keep no keys and values on a call's device any more; False where there are none."""
        with self.conditionings.lock:
            held = self.pruning.room.holds(call.device)
            if held:
                self.pruning.room.abandon("memory ran out beside the kept keys and values", call.device)
            return held

    def _answer_full(self, call: ModelCall, plan: Plan) -> torch.Tensor:
        with self.conditionings.lock:
            called = [self.conditionings.get(key) or self._add(key, call, plan) for key in call.keys]
            for one in called:
                self.pruning.room.follow(one, call.device)
            captures = self.pruning.needs_caches(call, called, plan)
        denoised = self.pruning.capture(call, called, plan) if captures else call.run()
        with self.conditionings.lock:
            self._count(call, plan)
            parts = zip(called, *call.split(call.x, denoised), strict=True)
            outputs = [one.answer_full(call, x, new, plan) for one, x, new in parts]
            self.report.cache_bytes = max(self.report.cache_bytes, self.conditionings.bytes)
        return torch.cat(outputs)

    def _add(self, key: Key, call: ModelCall, plan: Plan) -> Conditioning:
        cache = self.pruning.room.new_cache(call.device)
        added = self.conditionings.add(key, cache, call.device, plan.step.number)
        self.pruning.selections.add(added.group, added.grid)
        return added

    def _answer_pruned(self, call: ModelCall, plan: Plan) -> torch.Tensor:
        called = [self.conditionings[key] for key in call.keys]
        choices = [plan.choices[one.group].on(call.x.device) for one in called]
        denoised = self.pruning.compute(call, called, choices)
        outputs = []
        with self.conditionings.lock:
            self._count(call, plan, choices[0].selection.count)
            for one, chosen, x, new in zip(called, choices, *call.split(call.x, denoised), strict=True):
                outputs.append(one.answer_pruned(x, new, plan, chosen))
                self.pruning.selections.note_computed(plan.step, one.group, chosen.selection)
        return torch.cat(outputs)

    def _answer_idle(self, call: ModelCall, plan: Plan) -> torch.Tensor:
        with self.conditionings.lock, outside_of_traces():
            self._count(call, plan, 0)
            parts = zip(call.keys, *call.split(call.x), strict=True)
            return torch.cat([self.conditionings[key].answer_idle(x, plan) for key, x in parts])

    def _count(self, call: ModelCall, plan: Plan, computed: int | None = None) -> None:
        """Note the call in the report; ``computed`` None means all tokens."""
        rows = count_rows(self.family, call, self.conditionings.grid(call.keys[0][2]).tokens)
        plan.step.calls += rows.report(call, computed)

    def close(self, finished: bool) -> Report:
        """End the run: drop every tensor and return the report.

        After a fault of the device nothing can be read from it: tensors go all the same.
        """
        self.report.seconds = time.perf_counter() - self.started
        self.report.finished = finished
        try:
            for number, seconds in self.clock.read().items():
                self.steps[number].seconds = seconds
            self.pruning.selections.close(self.report)
        finally:
            self.conditionings.clear()
            self.pruning.selections.clear()
            self.plan = None
        return self.report
