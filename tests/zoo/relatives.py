"""Models of other names whose transformers are of a known class; older hosts may not have them.

Ovis-Image, LongCat-Image and Flux.2 klein are Flux, NewBie is Lumina 2. NetaYume is Lumina 2 with other weights.
"""

from dataclasses import replace

import comfy.supported_models
from comfy.ldm.flux.model import FluxParams
from comfy.ldm.lumina.model import NextDiT

from .case import Case, knows
from .flux import CASES as FLUX
from .flux import UNET
from .lumina import CASES as LUMINA

OVIS = {"vec_in_dim": None, "txt_ids_dims": [1, 2], "yak_mlp": True, "txt_norm": True, "guidance_embed": False}
LONGCAT = {"vec_in_dim": None, "txt_ids_dims": [1, 2], "guidance_embed": False}
NEWBIE = {"clip_text_dim": 40}


def cases() -> dict[str, Case]:
    schnell, newer, lumina = FLUX["flux schnell"], FLUX["flux 2"], LUMINA["lumina 2"]
    found = {"flux 2 klein": replace(newer, unet={**newer.unet, "guidance_embed": False})}
    if knows(FluxParams, OVIS):
        found["ovis"] = replace(schnell, unet={**UNET, **OVIS}, near_one=("norm",))
    if hasattr(comfy.supported_models, "LongCatImage"):
        found["longcat"] = replace(schnell, config=comfy.supported_models.LongCatImage, unet={**UNET, **LONGCAT})
    if knows(NextDiT, NEWBIE):
        found["newbie"] = replace(lumina, unet={**lumina.unet, **NEWBIE}, pooled=40)
    return found


CASES = cases()
