"""Krea 2; older hosts may not have it."""

import comfy.supported_models

from .case import Case

UNET = {
    "image_model": "krea2",
    "features": 96,
    "tdim": 32,
    "txtdim": 24,
    "heads": 6,
    "kvheads": 2,
    "layers": 3,
    "txtlayers": 2,
    "txtheads": 2,
    "txtkvheads": 2,
}


def cases():
    case = Case(
        comfy.supported_models.Krea2,
        UNET,
        channels=16,
        context=48,  # two layers of 24
        sizes={"square": (1, 16, 16), "wide": (1, 12, 20)},
        # the text is brought together by a transformer of its own
        serves=lambda number: number >= 4,
        near_one=(),  # scales are what is added to one
    )
    return {"krea 2": case}


CASES = cases() if hasattr(comfy.supported_models, "Krea2") else {}
