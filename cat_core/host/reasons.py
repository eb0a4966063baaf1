"""Why a call is not answered as its step was planned."""

from __future__ import annotations

from typing import Any

from ..algorithm.schedule import StepKind
from .architecture.family import Family
from .call import ModelCall
from .conditionings import Conditioning, Conditionings
from .known import find_unknown_in_call
from .plan import Plan
from .proof import Proof


def against_remembering(call: ModelCall, seen: set, plan: Plan, batch: int) -> str | None:
    """Why a call must not touch what is remembered, or None.

    Args:
        seen: the evaluation's conditionings so far.
        batch: pictures of the run.
    """
    if len(call.x) != batch * len(call.keys):
        return "a conditioning is evaluated for other pictures than the run's, or parts of them (tiles do this)"
    if seen.intersection(call.keys):
        return "a conditioning is evaluated more than once at a step (another guidance node does this)"
    if plan.sigma <= 0:
        return "the sampler asks for a noise level of zero"
    return None


def against_tokens(family: Family, model: Any, call: ModelCall) -> str | None:
    """Why tokens of a call cannot be computed by themselves, or None; ``model`` is the run's."""
    if call.model is not model:
        return "a second model takes part in the run"
    return find_unknown_in_call(family, call) or family.refuses(call.transformer, call.extra)


def for_full(
    call: ModelCall, plan: Plan, kinds: list[StepKind], conditionings: Conditionings, proof: Proof
) -> str | None:
    """Why a call of a pruned or idle step must be computed in full, or None; ``kinds`` are those of all steps."""
    known = [one for one in map(conditionings.get, call.keys) if one is not None and one.branch.noise is not None]
    if len(known) < len(call.keys):
        return "a conditioning starts in the middle of the run"
    if any(one.branch.device != call.x.device for one in known):
        return "a conditioning is evaluated on another device than before"
    if any(one.context_shape != call.context_shape for one in known):
        return "a conditioning changes its length in the middle of the run"
    if any(one.blocks != call.blocks for one in known):
        return "another node begins or ends to replace transformer blocks in the middle of the run"
    if StepKind.FULL in kinds[min(one.computed_at for one in known) + 1 : plan.step.number]:
        return "a step that was to be computed in full was answered by another node, or left out by the sampler"
    return _for_full_at_pruned(call, known, proof) if plan.kind is StepKind.PRUNED else None


def _for_full_at_pruned(call: ModelCall, known: list[Conditioning], proof: Proof) -> str | None:
    if any(not one.kv.layers for one in known):
        return "a conditioning has no kept keys and values at a pruned step"
    if not proof.holds_for(call.layout):
        return "conditionings are evaluated together in another way than before"
    return None
