"""Gathering and scattering tokens inside the host's transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from ...algorithm.selection import Selection

Arguments = dict[str, Any]
Slot = tuple[str, int]


def gather_rows(tensor: torch.Tensor, selection: Selection, before: int = 0, dim: int = 1) -> torch.Tensor:
    """Keep the selected image tokens of a tensor that has a row for every token of a sequence.

    Args:
        tensor: [B or 1, ..., before + N + after, ...]; the result has B samples and before + k + after rows.
        selection: of k from N tokens for B samples.
        before: rows in front of the image tokens; they and the rows behind stay.
        dim: of the rows.
    """
    rows = tensor.movedim(dim, 1)
    rows = rows.expand(len(selection.indices), *rows.shape[1:])
    behind = before + selection.tokens
    index = selection.indices.view(*selection.indices.shape, *[1] * (rows.ndim - 2))
    image = rows[:, before:behind].gather(1, index.expand(-1, -1, *rows.shape[2:]))
    return torch.cat((rows[:, :before], image, rows[:, behind:]), 1).movedim(1, dim).contiguous()


def scatter_rows(tokens: torch.Tensor, selection: Selection, before: int = 0) -> torch.Tensor:
    """Inverse of :func:`gather_rows` for [B, before + k + after, d], zero for tokens that are not selected."""
    last = before + selection.count
    image = selection.scatter(tokens[:, before:last])
    return torch.cat((tokens[:, :before], image, tokens[:, last:]), 1)


def hook_blocks(
    options: dict[str, Any],
    slots: list[Slot],
    enter: Callable[[Arguments], Arguments] | None = None,
    each: Callable[[Arguments], Arguments] | None = None,
    leave: Callable[[Arguments], Arguments] | None = None,
) -> dict[str, Any]:
    """``transformer_options`` with hooks in the host's block replace slots.

    Args:
        slots: (kind, number) of the blocks in the order they run, say ``("double_block", 0)``.
        enter: changes the first block's arguments.
        each: changes every block's arguments, the first one's after ``enter``.
        leave: changes the last block's outputs.
    """
    hooks: dict[Slot, Callable] = {}
    for slot in slots:
        first, last = slot == slots[0], slot == slots[-1]
        steps = [step for step in (enter if first else None, each) if step]
        if steps or (last and leave):
            hooks[slot] = _hook(steps, leave if last else None)
    return {**options, "patches_replace": {**options.get("patches_replace", {}), "dit": hooks}}


def _hook(steps: list[Callable[[Arguments], Arguments]], leave: Callable[[Arguments], Arguments] | None) -> Callable:
    def hook(args: Arguments, extra: dict[str, Any]) -> Arguments:
        for step in steps:
            args = step(args)
        out = extra["original_block"](args)
        return leave(out) if leave else out

    return hook


def changing(**changes: Callable[[Any], Any]) -> Callable[[Arguments], Arguments]:
    """Arguments with some of them changed, each by its own function; those that are None stay."""

    def change(args: Arguments) -> Arguments:
        changed = {name: function(args[name]) for name, function in changes.items() if args.get(name) is not None}
        return {**args, **changed}

    return change


def once(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Remember the last result: all blocks are given the same tensor."""
    held: list[tuple[Any, Any]] = []

    def remembered(value: Any) -> Any:
        if not held or held[0][0] is not value:
            held[:] = [(value, function(value))]
        return held[0][1]

    return remembered


@contextmanager
def hooked(
    before: list[tuple[torch.nn.Module, Callable[[tuple, dict], tuple[tuple, dict]]]],
    after: list[tuple[torch.nn.Module, Callable[[Any], Any]]],
) -> Iterator[None]:
    """Change arguments and outputs of modules while the context lasts, where the host has no slots for it."""
    with ExitStack() as stack:
        for module, change in before:
            handle = module.register_forward_pre_hook(
                lambda _, args, kwargs, change=change: change(args, kwargs), with_kwargs=True
            )
            stack.callback(handle.remove)
        for module, answer in after:
            handle = module.register_forward_hook(lambda _, args, output, answer=answer: answer(output))
            stack.callback(handle.remove)
        yield


@contextmanager
def replaced(forwards: list[tuple[torch.nn.Module, Callable[..., Any]]]) -> Iterator[None]:
    """Let modules compute by other functions while the context lasts, where attention cannot be overridden."""
    try:
        for module, forward in forwards:
            module.forward = forward  # an attribute of this one module, in front of its class's method
        yield
    finally:
        for module, _ in forwards:
            module.__dict__.pop("forward", None)


def gather_control(control: Any, kind: str, selection: Selection, last: int | None = None) -> Any:
    """Control residuals of a kind ("input", "output") for gathered tokens.

    Residuals are added after each block: to gathered tokens everywhere but after block ``last``, which scatters.
    """
    residuals = (control or {}).get(kind)
    if not residuals:
        return control
    gathered = [
        residual if residual is None or i == last else gather_rows(_full_length(residual, selection), selection)
        for i, residual in enumerate(residuals)
    ]
    return {**control, kind: gathered}


def _full_length(residual: torch.Tensor, selection: Selection) -> torch.Tensor:
    """Residuals may be for the first tokens only: the others get zeros."""
    return torch.nn.functional.pad(residual, (0, 0, 0, selection.tokens - residual.shape[1]))


def linear_macs(*modules: torch.nn.Module | None) -> int:
    """MACs of all linear layers of the modules for one token."""
    layers = [layer for module in modules if module is not None for layer in module.modules()]
    return sum(layer.weight.numel() for layer in layers if isinstance(layer, torch.nn.Linear))
