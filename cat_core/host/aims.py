"""What tuning is for, how its results are compared, and what is said of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from comfy.utils import pack_latents

from .. import __version__
from ..similarity import compare
from ..tuned import Tuned, add
from .sampled import Sampled
from .tuned import fingerprint, tuned_file
from .tuning import Candidate, Findings, Tuner

AIMS: dict[str, Callable[[Tuner, float, float], Findings]] = {
    "closest at a cost": lambda tuner, cost, similarity: tuner.find_closest(cost),
    "cheapest above a likeness": lambda tuner, cost, similarity: tuner.find_cheapest(similarity),
    "curve only": lambda tuner, cost, similarity: tuner.draw_curve(),
}
"""By name: what a tuner does with a share of the computation and a likeness in dB."""


def compare_latents(reference: Any, samples: Any) -> float:
    """Signal over difference in dB of two results of a sampler."""
    one, other = (pack_latents(part.unbind())[0] if part.is_nested else part for part in (reference, samples))
    difference = (one - other).norm()
    return 20 * math.log10(one.norm() / difference) if difference else math.inf


class PictureComparison:
    """Mean PSNR in dB of what a VAE makes of two results; every reference is decoded once."""

    def __init__(self, decode: Callable[[Any], torch.Tensor]):
        self.decode = decode
        self.decoded: dict[int, torch.Tensor] = {}

    def __call__(self, reference: Any, samples: Any) -> float:
        pictures = self.decoded.setdefault(id(reference), self.decode(reference))
        psnr = compare(pictures, self.decode(samples))[0].psnr
        return sum(psnr) / len(psnr)


def keep(sampled: Sampled, findings: Findings) -> None:
    """Write what was chosen into the file that preset *tuned* looks into.

    Raises:
        ValueError: the file is damaged; it stays as it is.
    """
    chosen = findings.chosen
    if chosen is None or chosen.ran is None:
        return
    run, likeness = sampled.occasion, chosen.mean("similarity")
    tuned = Tuned(
        fingerprint(run.model),
        run.family.name if run.family else type(run.model.model).__name__,
        run.sampler_name,
        tuple(run.sigmas),
        run.tokens,
        run.guided,
        chosen.ran,
        chosen.mean("cost"),
        likeness if math.isfinite(likeness) else None,
        findings.seconds,
        chosen.mean("seconds"),
        __version__,
    )
    add(tuned_file(), tuned)


def describe(findings: Findings, unit: str) -> str:
    """A few lines: what was chosen, and whether fewer steps are better; ``unit`` is what dB are of."""
    chosen = findings.chosen
    if chosen is None:
        return "No settings reach that: nothing was chosen."
    lines = [f"Chosen: {_figures(chosen)}, of {unit}. In full: {findings.seconds:.1f} s."]
    lines += [f"{one.steps} steps without CAT Pruning: {_figures(one)}." for one in findings.rivals]
    beaten = [one for one in findings.rivals if _beats(one, chosen)]
    if beaten:
        lines.append("Fewer steps are better here: take those, without CAT Pruning.")
    return "\n".join(lines)


def _figures(one: Candidate) -> str:
    return f"{one.mean('cost'):.0%} computed in {one.mean('seconds'):.1f} s, {one.mean('similarity'):.1f} dB"


def _beats(rival: Candidate, chosen: Candidate) -> bool:
    """Whether it is as fast and closer, on the seeds that both were run with."""
    seeds = rival.measured.keys() & chosen.measured.keys()
    closer = sum(rival.measured[seed].similarity - chosen.measured[seed].similarity for seed in seeds)
    return bool(seeds) and closer > 0 and rival.mean("seconds") <= 1.05 * chosen.mean("seconds")
