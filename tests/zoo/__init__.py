"""Small models of every family: the host's own classes with random weights, a module each."""

from __future__ import annotations

from . import flux, hidream, hunyuandit, lumina, omnigen2, pixart
from .case import Case

CASES: dict[str, Case] = {
    **pixart.CASES,
    **flux.CASES,
    **lumina.CASES,
    **hidream.CASES,
    **omnigen2.CASES,
    **hunyuandit.CASES,
}
