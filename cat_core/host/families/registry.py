"""All families."""

from __future__ import annotations

import torch

from .aura import AuraFlow
from .chroma import Chroma
from .cosmos import CosmosPredict2
from .family import Family
from .flux import Flux
from .hidream import HiDream
from .hunyuan_video import HunyuanVideo
from .hunyuandit import HunyuanDiT
from .ltxv import LTXV
from .lumina import Lumina2
from .mochi import Mochi
from .omnigen2 import OmniGen2
from .pixart import PixArt
from .qwen_image import QwenImage
from .sd3 import SD3
from .wan import Wan

FAMILIES: tuple[Family, ...] = (
    SD3(),
    PixArt(),
    Flux(),
    QwenImage(),
    Lumina2(),
    Chroma(),
    AuraFlow(),
    Wan(),
    HunyuanVideo(),
    LTXV(),
    CosmosPredict2(),
    Mochi(),
    HiDream(),
    OmniGen2(),
    HunyuanDiT(),
)


def find_family(transformer: torch.nn.Module) -> Family | None:
    """The family of a diffusion transformer, or None. A compiled module is looked into."""
    transformer = getattr(transformer, "_orig_mod", transformer)
    return next((family for family in FAMILIES if family.matches(transformer)), None)
