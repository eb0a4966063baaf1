"""Lets a model's blocks compute selected tokens alone, and attention know where it is, as a layout says.

All is done by the host's block replace slots, by module hooks, and by functions in front of a module's own where
neither can do it; nothing of it is left when a call ends, however it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch

from ...algorithm.selection import Selection
from ..attention import OVERRIDE, NamedAttention
from .layout import Argument, Block, Layout, Rest
from .rows import gather_control, gather_rows, scatter_rows

Arguments = dict[Argument, Any]


@contextmanager
def engage(
    layout: Layout,
    transformer: torch.nn.Module,
    options: dict[str, Any],
    control: Any,
    attention: NamedAttention,
    selection: Selection | None = None,
) -> Iterator[tuple[dict[str, Any], Any]]:
    """Context of a call whose attention in blocks is answered by ``attention``.

    Args:
        layout: of the transformer.
        options, control: as the host gives them; they are not changed.
        selection: of the whole batch: blocks compute these tokens alone. None for all.

    Yields:
        ``transformer_options`` and ``control`` for the call.
    """
    blocks = layout.list_blocks(transformer)
    rows = BlockRows(layout, transformer, selection, attention) if selection else None
    hooks: dict[tuple[str, int], Callable] = {}
    with ExitStack() as stack:
        for block in blocks:
            first, last = block is blocks[0], block is blocks[-1] and layout.end is None
            enter = partial(rows.enter, first=first) if rows else None
            leave = rows.leave if rows and last else None
            if block.slot:
                hooks[block.slot] = _slot_hook(block, layout.image, attention, enter, leave)
            else:
                _hook_module(stack, block, attention, enter, leave)
            for path, function in layout.computes.items():
                module = block.module.get_submodule(path)
                _replace_forward(stack, module, partial(function, module, attention))
        if rows and layout.end:
            module = transformer.get_submodule(layout.end)
            change = lambda _, args: (rows.leave(args[0]), *args[1:])  # noqa: E731
            stack.callback(module.register_forward_pre_hook(change).remove)
        if hooks:
            options = {**options, "patches_replace": {**options.get("patches_replace", {}), "dit": hooks}}
        if not layout.computes:
            options = {**options, OVERRIDE: partial(attention, previous=options.get(OVERRIDE))}
        if selection:
            control = _gather_controls(layout, transformer, control, selection)
        yield options, control


class BlockRows:
    """What one call does to the rows of its blocks' arguments."""

    def __init__(self, layout: Layout, transformer: torch.nn.Module, selection: Selection, attention: NamedAttention):
        self.layout, self.selection, self.attention = layout, selection, attention
        self.pads = layout.count_pads(transformer, selection.tokens)
        self.grid: tuple[int, ...] = ()
        self.inside = 0
        """Rows in front of the image tokens in the image's argument of the first block."""
        self.before = 0
        """Rows in front of them in attention."""
        self.held: dict[Argument, tuple[Any, Any]] = {}

    def enter(self, given: Arguments, first: bool) -> Arguments:
        """A block's arguments for the selected tokens; behind the first block, the image's are already."""
        if first:
            image = self.layout.put_image(given[self.layout.image], self.gather_image(given))
            given = {**given, self.layout.image: image}
        changed = {name: self._gather_once(name, given[name]) for name in self.layout.per_token}
        return {**given, **changed}

    def gather_image(self, given: Arguments) -> torch.Tensor:
        """The first block's image, and where it stands."""
        image = self.layout.take_image(given[self.layout.image])
        self.grid = image.shape[1:-1]
        tokens = image.flatten(1, -2)
        rest = tokens.shape[1] - self.selection.tokens
        self.inside = rest - self.pads if self.layout.rest is Rest.IN_FRONT else 0
        text = 0 if self.layout.text is None else given[self.layout.text].shape[1]
        self.before = self.attention.before = self.inside + text
        self.attention.text = text
        if self.layout.rest is Rest.NOWHERE:
            gathered = self.selection.gather(tokens)
        else:
            gathered = gather_rows(tokens, self.selection, before=self.inside)
        return gathered.unflatten(1, (*[1] * (len(self.grid) - 1), -1)) if len(self.grid) > 1 else gathered

    def _gather_once(self, name: Argument, value: Any) -> Any:
        """All blocks are given the same tensor, or None."""
        if value is None:
            return None
        if name not in self.held or self.held[name][0] is not value:
            self.held[name] = value, self.gather_argument(name, value)
        return self.held[name][1]

    def gather_argument(self, name: Argument, value: Any) -> Any:
        """An argument with a row for every row of a sequence, for the selected tokens."""
        how = self.layout.per_token[name]
        if callable(how):
            return how(value, self.selection)
        return gather_rows(value, self.selection, before=self.before, dim=how)

    def leave(self, value: Any) -> Any:
        """Put tokens of the last block's answer back to their places."""
        tokens = self.layout.take_image(value).flatten(1, -2)
        if tokens.shape[1] == self.selection.count:
            full = self.selection.scatter(tokens)
        else:
            before = self.before if self.layout.blocks[-1].joined else self.inside
            full = scatter_rows(tokens, self.selection, before=before)
        full = full.unflatten(1, self.grid) if len(self.grid) > 1 else full
        return self.layout.put_image(value, full)


def _slot_hook(
    block: Block, image: Argument, attention: NamedAttention, enter: Callable | None, leave: Callable | None
) -> Callable:
    def hook(args: Arguments, extra: dict[str, Any]) -> Arguments:
        args = enter(args) if enter else args
        attention.enter(block.name)
        out = extra["original_block"](args)
        attention.enter(None)
        return {**out, image: leave(out[image])} if leave else out

    return hook


def _hook_module(
    stack: ExitStack, block: Block, attention: NamedAttention, enter: Callable | None, leave: Callable | None
) -> None:
    def before(_: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
        attention.enter(block.name)
        if enter is None:
            return None
        given = enter({**dict(enumerate(args)), **kwargs})
        return tuple(given[place] for place in range(len(args))), {name: given[name] for name in kwargs}

    def after(_: torch.nn.Module, args: tuple, out: Any) -> Any:
        attention.enter(None)
        return leave(out) if leave else None

    stack.callback(block.module.register_forward_pre_hook(before, with_kwargs=True).remove)
    stack.callback(block.module.register_forward_hook(after).remove)


def _replace_forward(stack: ExitStack, module: torch.nn.Module, forward: Callable[..., Any]) -> None:
    """Until the stack is closed; a function that another node put there comes back then."""
    if "forward" in vars(module):
        stack.callback(setattr, module, "forward", module.forward)
    else:
        stack.callback(vars(module).pop, "forward", None)
    module.forward = forward  # an attribute of this one module, in front of its class's method


def _gather_controls(layout: Layout, transformer: torch.nn.Module, control: Any, selection: Selection) -> Any:
    for kind, path in layout.controls.items():
        last = len(getattr(transformer, path)) - 1 if path and path == layout.blocks[-1].path else None
        control = gather_control(control, kind, selection, last)
    return control
