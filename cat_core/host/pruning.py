"""The pruned steps of one run: whether there are any, what their calls compute, and the proof that this is right."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from comfy.model_management import InterruptProcessingException

from ..algorithm.macs import ModelCost
from ..algorithm.schedule import Schedule, StepKind
from ..algorithm.selection import Selection
from ..settings import CATSettings
from . import reasons
from .architecture.family import Family
from .attention import OVERRIDE
from .call import ModelCall
from .conditionings import Conditioning, Conditionings
from .counting import count_rows
from .forward import run_capturing, run_pruned
from .journal import IDLE_INSTEAD, Journal
from .known import find_unknown_in_modules
from .memory import count_cached_values, is_out_of_memory
from .plan import NONE, Choice, Choices, Plan
from .proof import Proof, scatter_selection, tolerance
from .room import Room
from .selections import Selections


class Pruning:
    """What a run has for its pruned steps; they are given up, once and for all, where they cannot be right.

    Args:
        family: the model's architecture, or None where it is not known.
        model: the host's ``BaseModel`` that is sampled from.
        settings: the knobs.
        schedule: of the run; given up, it has idle steps in place of pruned ones.
        cost: of the model, None where it is not known.
        noise_shape: [B, C, ...] of the whole latent.
        devices: how many share the run.
        wanted: whether there are to be any.
    """

    def __init__(
        self,
        family: Family | None,
        model: Any,
        settings: CATSettings,
        schedule: Schedule,
        cost: ModelCost | None,
        conditionings: Conditionings,
        journal: Journal,
        noise_shape: tuple[int, ...],
        devices: int,
        wanted: bool,
    ):
        self.family, self.model, self.schedule, self.journal = family, model, schedule, journal
        self.cost, self.conditionings, self.wanted = cost, conditionings, wanted
        self.selections = Selections(settings, noise_shape)
        self.room = Room(settings, conditionings, journal, self.give_up, devices)
        self.proof, self.tolerance = Proof(), 0.0
        self.following = 0
        """The step behind the one that is evaluated."""
        self.known: set[torch.nn.Module] = set()
        """Models of the run, of which some guiders have two, that are known to be as their class has them."""

    def choose(self, number: int, sigma: float, chosen: Choices, warming_up: bool) -> Choices:
        """The tokens of a step, if it is a pruned one, given what an earlier evaluation of it has chosen.

        What was proved since the last pruned step is looked at first.
        """
        self.following = number + 1
        if warming_up or self.schedule.kinds[number] is not StepKind.PRUNED:
            return NONE
        if reason := self.proof.reason_against(self.tolerance):
            self.give_up(reason, number)
            return NONE
        return self.selections.choose(self.conditionings, number, sigma, chosen)

    def give_up(self, reason: str, step: int | None = None) -> None:
        """From ``step`` on, by default the next, which is full, there are idle steps in place of pruned ones."""
        with self.conditionings.lock:
            if not self.wanted:
                return
            self.journal.allows(reason, IDLE_INSTEAD)
            self.wanted = False
            self.schedule.drop_tokens(self.following if step is None else step)
            self.room.empty()

    def accepts(self, call: ModelCall) -> bool:
        """Whether tokens of a call can be computed by themselves; if not, they are given up."""
        assert self.family is not None
        reason = reasons.against_tokens(self.family, call) or self._against_model(call)
        if reason:
            self.give_up(reason)
        return reason is None

    def _against_model(self, call: ModelCall) -> str | None:
        """Why tokens of no call of this model can be computed by themselves, or None."""
        assert self.family is not None
        if call.model in self.known:
            return None
        if call.model is not self.model and not (
            self.family.matches(call.transformer) and self.family.cost(call.transformer) == self.cost
        ):
            return "a second model of another kind takes part in the run"
        self.known.add(call.model)
        # what other nodes put into the model is there now that it is loaded
        return find_unknown_in_modules(call.transformer)

    def needs_caches(self, call: ModelCall, called: list[Conditioning], plan: Plan) -> bool:
        """Whether a full call fills the K/V caches: if the next computed step is a pruned one, and there is room."""
        if not self.wanted or not self.schedule.prunes_next(plan.step.number):
            return False
        if all(one.kv.layers for one in called):
            return True
        assert self.cost is not None
        rows = count_rows(self.family, call, called[0].grid.tokens)
        return self.room.find(self.cost.count_cached(rows.tokens + rows.beside, rows.others) * len(call.x), call)

    def capture(self, call: ModelCall, called: list[Conditioning], plan: Plan) -> torch.Tensor:
        """Answer a call in full, keep its keys and values, and prove what will be computed with them."""
        assert self.family is not None
        out_of_memory = partial(self._out_of_memory, call.device)
        denoised, filled = run_capturing(self.family, call, [one.kv for one in called], out_of_memory)
        if not filled:
            self.give_up("the model computes attention where it cannot be seen")
        # where memory ran out for keys and values there are none to prove anything by
        if self.wanted and not self.proof.holds_for(call.layout) and all(one.kv.layers for one in called):
            self._prove(call, called, denoised, plan)
        return denoised

    def _out_of_memory(self, device: torch.device) -> None:
        with self.conditionings.lock:
            self.room.move("memory ran out for keys and values", device)

    def _prove(self, call: ModelCall, called: list[Conditioning], denoised: torch.Tensor, plan: Plan) -> None:
        """Compute some tokens by themselves from the caches just filled, and compare them with a full answer."""
        selections = [scatter_selection(len(call.x) // len(called), one.grid.tokens, call.x.device) for one in called]
        try:
            alone = self.compute(call, called, [Choice(selection, None) for selection in selections])
        except InterruptProcessingException:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            self.give_up(f"proof failed, {type(error).__name__}: {error}")
            return
        noises = (called[0].grid.split((call.x - answer) / plan.sigma) for answer in (alone, denoised))
        tokens, *others = zip(*noises, strict=True)
        with self.conditionings.lock:
            self.proof.add(call.layout, *map(Selection.join(selections).gather, tokens))
            for pair in others:
                self.proof.add(call.layout, *pair)
            # two models may be of different precision
            least = tolerance(call.transformer, self.room.dtype(call.device), OVERRIDE in call.options)
            self.tolerance = max(self.tolerance, least)

    def compute(self, call: ModelCall, called: list[Conditioning], choices: list[Choice]) -> torch.Tensor:
        """Answer a call for chosen tokens alone; the others' places hold nothing of use."""
        assert self.family is not None
        return run_pruned(self.family, call, [one.kv for one in called], choices)

    def estimate_bytes(self, noise_shape: torch.Size, conds: list[dict[str, Any]], model: Any) -> int:
        """Memory that the caches will take on each device, see :func:`.memory.count_cached_values`."""
        if not self.wanted or StepKind.PRUNED not in self.schedule.kinds:
            return 0
        assert self.cost is not None
        assert self.conditionings.patch is not None
        tokens = self.conditionings.grid(noise_shape).tokens
        values = count_cached_values(self.cost, self.conditionings.patch, tokens, conds, self.room.devices)
        return self.room.bytes_beside_the_model(noise_shape[0] * values, model)
