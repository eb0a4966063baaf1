"""Why a call is not answered as its step was planned."""

from __future__ import annotations

from collections.abc import Iterator

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


def against_tokens(family: Family, call: ModelCall) -> str | None:
    """Why tokens of a call cannot be computed by themselves, or None."""
    return find_unknown_in_call(family, call) or family.refuses(call.transformer, call.extra)


def for_full(
    call: ModelCall, plan: Plan, kinds: list[StepKind], conditionings: Conditionings, proof: Proof
) -> str | None:
    """Why a call of a pruned or idle step must be computed in full, or None; ``kinds`` are those of all steps."""
    known = [one for one in map(conditionings.get, call.keys) if one is not None and one.branch.noise is not None]
    if len(known) < len(call.keys):
        return "a conditioning starts in the middle of the run"
    return next(_list_for_full(call, plan, kinds, known, proof), None)


def _list_for_full(
    call: ModelCall, plan: Plan, kinds: list[StepKind], known: list[Conditioning], proof: Proof
) -> Iterator[str]:
    if any(one.weights != call.weights for one in known):
        yield "a conditioning is evaluated by another model than before"
    if any(one.context_shape != call.context_shape for one in known):
        yield "a conditioning changes its length in the middle of the run"
    if any(one.blocks != call.blocks for one in known):
        yield "another node begins or ends to replace transformer blocks in the middle of the run"
    if StepKind.FULL in kinds[min(one.computed_at for one in known) + 1 : plan.step.number]:
        yield "a step that was to be computed in full was answered by another node, or left out by the sampler"
    if plan.kind is StepKind.PRUNED:
        if any(one.device != call.device for one in known):
            yield "a conditioning is evaluated on another device than its keys and values"
        if any(not one.kv.layers for one in known):
            yield "a conditioning has no kept keys and values at a pruned step"
        if not proof.holds_for(call.layout):
            yield "conditionings are evaluated together in another way than before"
