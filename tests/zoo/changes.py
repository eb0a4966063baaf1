"""What a later release of the host might do to a model's classes.

A changed class goes by its parent's name, as the same class of that release would, so every family takes it for what it
knows. Each change is one that a release has made to some model before, or could make without a word to anyone.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import comfy.conds
import torch

from cat_core.host.attention import OVERRIDE

TEXT = 7
"""Tokens of a prompt, as :meth:`Case.conditioning` makes it."""
ADDED = 5
"""Tokens that a model adds."""
EVERY, FIRST, LAST = slice(None), slice(1), slice(-1, None)
"""Of the blocks."""

Model = Any
Rows = Callable[[torch.Tensor, dict[str, Any]], torch.Tensor]
"""Changes rows [B, L, d] of a block, given its ``transformer_options``."""


def derive(thing: Any, **methods: Callable) -> type:
    """Make ``thing`` an object of a subclass of the same name; return the parent."""
    parent = type(thing)
    thing.__class__ = type(parent.__name__, (parent,), {"__module__": parent.__module__, **methods})
    return parent


def transformer_of(model: Model) -> Any:
    return model.model.diffusion_model


def blocks_of(model: Model) -> list:
    """The blocks that take image tokens, or image tokens and others in one sequence."""
    names = "double_blocks", "blocks", "layers"
    return list(next(getattr(transformer_of(model), name) for name in names if hasattr(transformer_of(model), name)))


def changing_rows(model: Model, enter: Rows | None = None, leave: Rows | None = None, which: slice = EVERY) -> None:
    """Let blocks change what they are given, or what they answer, inside their forward."""
    for block in blocks_of(model)[which]:
        parent = type(block)

        def forward(self, *args, parent=parent, **kwargs):
            options = kwargs.get("transformer_options", {})
            if enter and args:
                args = enter(args[0], options), *args[1:]
            elif enter:
                kwargs["img"] = enter(kwargs["img"], options)
            out = parent.forward(self, *args, **kwargs)
            if leave is None:
                return out
            return (leave(out[0], options), *out[1:]) if isinstance(out, tuple) else leave(out, options)

        derive(block, forward=forward)


def one_more_attention(kind: str, place: str, which: slice = EVERY, tokens: int = TEXT) -> Callable[[Model], None]:
    """Every block, or some, has one more, of which the family does not know.

    Args:
        kind: of all rows to each other (``rows``) or in another order (``flipped``), from rows to other tokens
            (``to words``), or of those to each other (``words``).
        place: ``enter``, in front of all others, or ``leave``.
        tokens: how many other tokens there are.
    """

    def change(model: Model) -> None:
        module = importlib.import_module(type(blocks_of(model)[0]).__module__.replace("pixartms", "blocks"))
        host = module if hasattr(module, "optimized_attention") else importlib.import_module("comfy.ldm.flux.math")

        def attend(rows, options):
            draw = torch.Generator().manual_seed(4)
            words = torch.randn(1, tokens, rows.shape[-1], generator=draw).expand(len(rows), -1, -1)
            q, k = {
                "rows": (rows, rows),
                "flipped": (rows.flip(1), rows.flip(1)),
                "to words": (rows, words),
                "words": (words, words),
            }[kind]
            # the host's blocks are not all given options
            given = {"transformer_options": options} if options else {}
            # of a size at which no row attends to itself alone
            q, k = (torch.nn.functional.layer_norm(part, part.shape[-1:]) / 2 for part in (q, k))
            answer = host.optimized_attention(q, k, k, heads=1, **given)
            answer = {"flipped": answer.flip(1), "words": answer.mean(1, keepdim=True)}.get(kind, answer)
            return rows + answer

        changing_rows(model, **{place: attend}, which=which)

    return change


def two_more_attentions(model: Model) -> None:
    """In front, so that those of one kind come at the same places of the numbering as before."""
    for _ in range(2):
        one_more_attention("rows", "enter")(model)


def positions_inside(model: Model) -> None:
    """Blocks number their rows themselves."""

    def placed(rows, _):
        places, waves = torch.arange(rows.shape[1]), torch.arange(rows.shape[2])
        return rows + torch.outer(places, 1 + waves).mul(0.7).sin()

    changing_rows(model, enter=placed)


def modulated_up_to(index: int) -> Callable[[Model], None]:
    """Blocks know a row from which on modulation is another one, as for references at a timestep of zero."""

    def modulated(rows, _):
        return rows * torch.where(torch.arange(rows.shape[1]) < index, 1.3, 0.7).view(1, -1, 1)

    return lambda model: changing_rows(model, leave=modulated)


def flux_image_before_text(model: Model) -> None:
    """In attention, as of HunyuanVideo's host 0.14."""
    from comfy.ldm.flux.layers import attention

    def swapped(q, k, v, pe, *args, **kwargs):
        rolled = (rows.roll(-TEXT, dims=2) for rows in (q, k, v, pe))
        return attention(*rolled, *args, **kwargs).roll(TEXT, dims=1)

    def forward_orig(self, *args, **kwargs):
        with patch("comfy.ldm.flux.layers.attention", swapped):
            return parent.forward_orig(self, *args, **kwargs)

    parent = derive(transformer_of(model), forward_orig=forward_orig)


def lumina_image_before_text(model: Model) -> None:
    def patchify_and_embed(self, *args, **kwargs):
        rows, mask, sizes, text, positions, *more = parent.patchify_and_embed(self, *args, **kwargs)
        rows, positions = (part.roll(-text[0], dims=1) for part in (rows, positions))
        return rows, mask, sizes, [0] * len(text), positions, *more

    parent = derive(transformer_of(model), patchify_and_embed=patchify_and_embed)


def flux_registers(in_front: bool) -> Callable[[Model], None]:
    """Further tokens on one side of the image."""

    def joined(image: torch.Tensor, value: float) -> torch.Tensor:
        added = torch.full_like(image[:, :ADDED], value)
        return torch.cat((added, image) if in_front else (image, added), 1)

    def change(model: Model) -> None:
        def forward_orig(self, img, img_ids, *args, **kwargs):
            first = ADDED if in_front else 0
            out = parent.forward_orig(self, joined(img, 0.5), joined(img_ids, 30.0), *args, **kwargs)
            return out[:, first : first + img.shape[1]]

        parent = derive(transformer_of(model), forward_orig=forward_orig)

    return change


def wan_picture_behind(model: Model) -> None:
    """A second picture's tokens, which nothing announces."""

    def _forward(self, x, timestep, context, clip_fea=None, time_dim_concat=None, *args, **kwargs):
        picture = torch.full_like(x[:, :, :1], 0.5)
        return parent._forward(self, x, timestep, context, clip_fea, picture, *args, **kwargs)

    parent = derive(transformer_of(model), _forward=_forward)


def lumina_registers(model: Model) -> None:
    """Further tokens behind the image."""

    def patchify_and_embed(self, *args, **kwargs):
        rows, mask, sizes, text, positions, *more = parent.patchify_and_embed(self, *args, **kwargs)
        rows = torch.cat((rows, torch.full_like(rows[:, :ADDED], 0.5)), 1)
        return rows, mask, sizes, text, torch.cat((positions, positions[:, :ADDED]), 1), *more

    parent = derive(transformer_of(model), patchify_and_embed=patchify_and_embed)


def renamed(name: str) -> Callable[[Model], None]:
    """What the hooks of blocks are given has another name."""

    def moved(values: dict[str, Any], old: str, new: str) -> dict[str, Any]:
        return {new if key == old else key: value for key, value in values.items()}

    def renaming(hook: Callable) -> Callable:
        def called(args, extra):
            def original(given):
                return moved(extra["original_block"](moved(given, "later", name)), name, "later")

            return moved(hook(moved(args, name, "later"), {"original_block": original}), "later", name)

        return called

    def change(model: Model) -> None:
        def forward_orig(self, *args, **kwargs):
            given = inspect.signature(parent.forward_orig).bind(self, *args, **kwargs)
            options = given.arguments["transformer_options"]
            replaced = options.get("patches_replace", {})
            hooks = {slot: renaming(hook) for slot, hook in replaced.get("dit", {}).items()}
            given.arguments["transformer_options"] = {**options, "patches_replace": {**replaced, "dit": hooks}}
            return parent.forward_orig(*given.args, **given.kwargs)

        parent = derive(transformer_of(model), forward_orig=forward_orig)

    return change


def called_by_keyword(*names: str) -> Callable[[Model], None]:
    """Blocks are given by keyword what they were given by place."""

    def change(model: Model) -> None:
        for block in blocks_of(model):
            parent = type(block)

            def call(self, *args, parent=parent, **kwargs):
                return parent.__call__(self, **dict(zip(names, args, strict=False)), **kwargs)

            derive(block, __call__=call)

    return change


def new_argument(model: Model) -> None:
    """Of the model, which leaves its blocks as they are."""

    def extra_conds(self, **kwargs):
        return {**parent.extra_conds(self, **kwargs), "horizon": comfy.conds.CONDConstant(3)}

    parent = derive(model.model, extra_conds=extra_conds)


def attention_elsewhere(which: slice = EVERY) -> Callable[[Model], None]:
    """Blocks compute attention by a function that asks for no override."""

    def change(model: Model) -> None:
        singles = list(getattr(transformer_of(model), "single_blocks", []))
        for block in [*blocks_of(model), *singles][which]:
            parent = type(block)

            def forward(self, *args, transformer_options, parent=parent, **kwargs):
                options = {name: value for name, value in transformer_options.items() if name != OVERRIDE}
                return parent.forward(self, *args, transformer_options=options, **kwargs)

            derive(block, forward=forward)

    return change


def pixart_attention_elsewhere(model: Model) -> None:
    """Blocks compute it by their attention's weights and not by its forward."""
    for block in blocks_of(model):
        parent = type(block.attn)
        derive(block.attn, __call__=lambda self, *args, parent=parent, **kwargs: parent.forward(self, *args, **kwargs))
