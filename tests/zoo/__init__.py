"""Small models of every family: the host's own classes with random weights, a module each."""

from __future__ import annotations

from . import (
    aura,
    chroma,
    cosmos,
    flux,
    hidream,
    hunyuan_video,
    hunyuandit,
    ltxv,
    lumina,
    mochi,
    omnigen2,
    pixart,
    qwen_image,
    wan,
)
from .case import Case

CASES: dict[str, Case] = {
    **pixart.CASES,
    **flux.CASES,
    **qwen_image.CASES,
    **lumina.CASES,
    **chroma.CASES,
    **aura.CASES,
    **wan.CASES,
    **hunyuan_video.CASES,
    **ltxv.CASES,
    **cosmos.CASES,
    **mochi.CASES,
    **hidream.CASES,
    **omnigen2.CASES,
    **hunyuandit.CASES,
}
