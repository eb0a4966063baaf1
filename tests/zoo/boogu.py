"""Boogu, from text alone and with two reference latents; older hosts may not have it."""

from dataclasses import replace

import comfy.supported_models

from .case import Case
from .omnigen2 import CASES as OMNIGEN2
from .omnigen2 import MASK, REFERENCES, SHARED

UNET = {
    **OMNIGEN2["omnigen2"].unet,
    "image_model": "boogu",
    "num_layers": 2,
    "num_double_stream_layers": 2,
    "instruction_feat_dim": 48,
}
UNET.pop("text_feat_dim")


def cases():
    case = Case(
        comfy.supported_models.Boogu,
        UNET,
        **{**SHARED, "near_one": (*SHARED["near_one"], "norm1.norm", "norm3.norm")},
        prompt={"attention_mask": MASK},
        serves=lambda number: number >= 4,
    )
    references = {"attention_mask": MASK, "reference_latents": REFERENCES}
    # the refiner of references has modulations and attention that the formula does not know
    with_references = replace(case, prompt=references, serves=lambda number: number >= 6, inexact=0.02)
    return {"boogu": case, "boogu references": with_references}


CASES = cases() if hasattr(comfy.supported_models, "Boogu") else {}
