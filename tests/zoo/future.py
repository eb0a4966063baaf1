"""Hosts that do not exist: models of the zoo with one change each that a later release might make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from . import CASES
from .case import Case
from .changes import (
    ADDED,
    FIRST,
    LAST,
    TEXT,
    Model,
    attention_elsewhere,
    called_by_keyword,
    flux_image_before_text,
    flux_registers,
    lumina_image_before_text,
    lumina_registers,
    modulated_up_to,
    new_argument,
    one_more_attention,
    pixart_attention_elsewhere,
    positions_inside,
    renamed,
    two_more_attentions,
    wan_picture_behind,
)


@dataclass(frozen=True)
class Future:
    """
    Args:
        name: of a case in the zoo.
        change: what the later release does to its model.
        prunes: whether this is harmless: steps are pruned, and right.
        told: whether something else than the proof would tell, before a picture is wrong.
        behind, serves, blind: as in :class:`Case`, as they are for the changed model.
        prompt: further entries of the conditionings.
    """

    name: str
    change: Callable[[Model], None]
    prunes: bool = False
    told: bool = False
    behind: int = 0
    serves: Callable[[int], bool] | None = None
    blind: str | None = None
    prompt: dict[str, Any] = field(default_factory=dict)

    @property
    def case(self) -> Case:
        return CASES[self.name]

    @property
    def size(self) -> tuple[int, ...]:
        """Of the latent, as large as masks and references that are given with the prompt."""
        return self.case.sizes["square" if "noise_mask" in self.prompt else "wide"]

    def build(self) -> Model:
        model = self.case.build()
        self.change(model)
        return model

    def oracle(self) -> dict[str, Any]:
        """Arguments of the oracle for pruned steps of the changed model."""
        return {
            "patch": self.case.patch,
            "behind": self.behind,
            "serves": self.serves or self.case.serves,
            "blind": self.blind or self.case.blind,
        }


def _frames_given() -> dict[str, Any]:
    mask = torch.ones(1, 1, *CASES["wan 2.2"].sizes["square"])
    mask[:, :, 0] = 0
    return {"noise_mask": mask}


def _reference() -> dict[str, Any]:
    return {"reference_latents": [CASES["flux dev"].noise(1, (12, 20))]}


FUTURES: dict[str, Future] = {
    "flux: image before text": Future("flux dev", flux_image_before_text, behind=TEXT),
    "lumina: image before text": Future("lumina 2", lumina_image_before_text, behind=TEXT),
    "flux: attention in front": Future("flux dev", one_more_attention("rows", "enter"), prunes=True),
    "flux: attention at the end": Future("flux dev", one_more_attention("rows", "leave"), prunes=True),
    "flux: attention in another order": Future("flux dev", one_more_attention("flipped", "enter")),
    "flux: attention of few words": Future("flux dev", one_more_attention("words", "enter"), told=True),
    "flux: attention of as many words": Future("flux dev", one_more_attention("words", "enter", tokens=60), told=True),
    "flux: attention to as many words": Future(
        "flux dev", one_more_attention("to words", "leave", tokens=60), told=True
    ),
    "wan: attention in front": Future("wan t2v", one_more_attention("rows", "enter"), told=True),
    "wan: two attentions in front": Future("wan t2v", two_more_attentions, serves=lambda number: number % 4 < 3),
    "wan: attention at the end": Future("wan t2v", one_more_attention("rows", "leave"), told=True),
    "wan: attention at the very end": Future("wan t2v", one_more_attention("rows", "leave", LAST)),
    "wan: attention to words in front": Future(
        "wan t2v", one_more_attention("to words", "enter", tokens=30), told=True
    ),
    "wan: attention to words at the very end": Future(
        "wan t2v", one_more_attention("to words", "leave", LAST), prunes=True, serves=lambda number: number in (0, 2, 4)
    ),
    "lumina: attention in front": Future("lumina 2", one_more_attention("rows", "enter"), prunes=True),
    "lumina: attention of words": Future("lumina 2", one_more_attention("words", "leave"), told=True),
    "pixart: attention in front": Future(
        "pixart sigma", one_more_attention("rows", "enter"), serves=lambda number: number % 3 < 2
    ),
    "pixart: attention to words": Future(
        "pixart sigma", one_more_attention("to words", "leave"), prunes=True, serves=lambda number: number % 3 == 0
    ),
    "flux: registers behind": Future("flux dev", flux_registers(in_front=False), prunes=True, behind=ADDED),
    "flux: registers in front": Future("flux dev", flux_registers(in_front=True)),
    "wan: a picture behind": Future("wan t2v", wan_picture_behind, behind=15),
    "lumina: registers behind": Future("lumina 2", lumina_registers, behind=ADDED),
    "flux: token index": Future("flux dev", modulated_up_to(20)),
    "flux: token index of references": Future("flux dev", modulated_up_to(60), behind=60, prompt=_reference()),
    "wan: token index": Future("wan t2v", modulated_up_to(20)),
    "lumina: token index": Future("lumina 2", modulated_up_to(20)),
    "pixart: token index": Future("pixart sigma", modulated_up_to(20)),
    "flux: img renamed": Future("flux dev", renamed("img")),
    "flux: txt renamed": Future("flux dev", renamed("txt")),
    "flux: pe renamed": Future("flux dev", renamed("pe")),
    "wan: img renamed": Future("wan t2v", renamed("img")),
    "wan: pe renamed": Future("wan t2v", renamed("pe")),
    "wan: vec renamed": Future("wan 2.2", renamed("vec"), prompt=_frames_given()),
    "lumina: by keyword": Future("lumina 2", called_by_keyword("x", "x_mask", "freqs_cis", "adaln_input")),
    "pixart: by keyword": Future("pixart sigma", called_by_keyword("x", "y", "t", "mask", "HW")),
    "flux: new argument": Future("flux dev", new_argument, told=True),
    "wan: new argument": Future("wan t2v", new_argument, told=True),
    "lumina: new argument": Future("lumina 2", new_argument, told=True),
    "pixart: new argument": Future("pixart sigma", new_argument, told=True),
    "flux: positions inside": Future("flux dev", positions_inside),
    "wan: positions inside": Future("wan t2v", positions_inside),
    "lumina: positions inside": Future("lumina 2", positions_inside),
    "pixart: positions inside": Future("pixart sigma", positions_inside),
    "flux: attention elsewhere": Future("flux dev", attention_elsewhere(), told=True),
    "flux: the first attention elsewhere": Future(
        "flux dev", attention_elsewhere(FIRST), blind="comfy.ldm.flux.math.optimized_attention"
    ),
    "wan: attention elsewhere": Future("wan t2v", attention_elsewhere(), told=True),
    "wan: the first attention elsewhere": Future(
        "wan t2v", attention_elsewhere(FIRST), blind="comfy.ldm.wan.model.optimized_attention"
    ),
    "lumina: attention elsewhere": Future("lumina 2", attention_elsewhere(), told=True),
    "lumina: the first attention elsewhere": Future(
        "lumina 2", attention_elsewhere(FIRST), blind="comfy.ldm.lumina.model.optimized_attention_masked"
    ),
    "pixart: attention elsewhere": Future("pixart sigma", pixart_attention_elsewhere, told=True),
}
