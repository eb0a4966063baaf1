"""What tuning is for, how its results are compared, and what is said of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from comfy.utils import pack_latents

from .. import __version__
from ..settings import IN_FULL, CATSettings, name_changes
from ..similarity import compare
from ..tuned import Tuned, add
from .sampled import Sampled
from .tuned import fingerprint, tuned_file
from .tuning import Candidate, Findings, Tuner

AIMS: dict[str, Callable[[Tuner, float, float], None]] = {
    "closest at a cost": lambda tuner, cost, similarity: tuner.find_closest(cost),
    "cheapest above a likeness": lambda tuner, cost, similarity: tuner.find_cheapest(similarity),
    "curve only": lambda tuner, cost, similarity: tuner.draw_curve(),
}
"""By name: what a tuner does with a share of the computation and a likeness in dB."""
AS_FAST = 1.05
"""Times the seconds: a whole number of steps seldom takes just as long."""


def compare_latents(reference: Any, samples: Any) -> float:
    """Signal over difference in dB of two results of a sampler."""
    one, other = (pack_latents(part.unbind())[0] if part.is_nested else part for part in (reference, samples))
    difference = (one - other).norm()
    return 20 * math.log10(one.norm() / difference) if difference else math.inf


class Pictures:
    """What a VAE makes of results, and mean PSNR in dB between them; every reference is decoded once.

    Args:
        decode: gives [B, H, W, 3], or [B, T, H, W, 3] for videos.
    """

    def __init__(self, decode: Callable[[Any], torch.Tensor]):
        self.decode = decode
        self.references: dict[int, torch.Tensor] = {}

    def compare(self, reference: Any, samples: Any) -> float:
        """How alike two results are; the host's VAE may give the same pictures, which are infinitely alike."""
        if id(reference) not in self.references:
            self.references[id(reference)] = self.show(reference)
        psnr = compare(self.references[id(reference)], self.show(samples))[0].psnr
        return sum(psnr) / len(psnr)

    def show(self, samples: Any) -> torch.Tensor:
        """[B, H, W, 3]: pictures, or the frames of videos."""
        # of a sound beside them there is no picture
        pictures = self.decode(samples.unbind()[0] if samples.is_nested else samples)
        return pictures.flatten(0, -4)

    def side_by_side(self, findings: Findings) -> torch.Tensor:
        """[B, H, W', 3] of the first seed: in full, with what was chosen, and with fewer steps in as much time."""
        shown = [findings.samples, *(one.samples for one in (findings.chosen, *findings.rivals[:1]) if one)]
        return torch.cat([self.show(samples) for samples in shown], dim=2)


def keep(sampled: Sampled, findings: Findings) -> str:
    """Write what was chosen into the file that preset *tuned* looks into, and say so, or why not."""
    chosen = findings.chosen
    if chosen is None or chosen.ran is None:
        return ""
    run, likeness = sampled.occasion, chosen.mean("similarity")
    tuned = Tuned(
        fingerprint(run.model),
        run.family.name if run.family else type(run.model.model).__name__,
        run.sampler_name,
        tuple(run.sigmas),
        run.tokens,
        run.guided,
        chosen.ran,
        min(1.0, chosen.mean("cost")),
        likeness if math.isfinite(likeness) else None,
        findings.seconds,
        chosen.mean("seconds"),
        __version__,
    )
    try:
        add(tuned_file(), tuned)
    except (OSError, ValueError) as error:
        return f"Not kept for preset tuned: {error}"
    return "Kept for preset tuned."


def describe_progress(tuner: Tuner) -> str:
    """How far tuning is: runs, the time that the others take at most, and the best so far."""
    done = f"{tuner.budget - tuner.left} of {tuner.budget} runs"
    left = f"at most {tuner.left * tuner.findings.seconds:.0f} s to go"
    chosen = tuner.findings.chosen
    return f"{done}, {left}." + (f"\nBest so far: {_figures(chosen)}." if chosen else "")


def describe(findings: Findings, unit: str) -> str:
    """A few lines: what was chosen, and whether fewer steps are better; ``unit`` is what dB are of."""
    lines = [f"In full: {findings.steps} steps in {findings.seconds:.1f} s. Likeness to that is of {unit}."]
    lines += _describe_choice(findings, findings.chosen) if findings.chosen else _list_all(findings)
    return "\n".join(lines)


def _describe_choice(findings: Findings, chosen: Candidate) -> list[str]:
    knobs = name_changes(CATSettings(), chosen.settings or IN_FULL)
    lines = [f"Chosen: {_figures(chosen)}.", f"Its knobs: {'; '.join(knobs) or 'as they are by default'}."]
    lines += [f"{one.steps} steps without CAT Pruning: {_figures(one)}." for one in findings.rivals]
    if any(_beats(one, chosen) for one in findings.rivals):
        lines.append("Fewer steps are better here: take those, without CAT Pruning.")
    elif not findings.rivals:
        lines.append("Fewer steps were not measured.")
    return lines


def _list_all(findings: Findings) -> list[str]:
    by_cost = sorted(findings.candidates, key=lambda one: one.mean("cost"))
    lines = [f"{'CAT Pruning' if one.settings else f'{one.steps} steps'}: {_figures(one)}." for one in by_cost]
    return [*lines, "Nothing was chosen: the output settings leaves nothing out."]


def _figures(one: Candidate) -> str:
    return f"{one.mean('cost'):.0%} computed in {one.mean('seconds'):.1f} s, {one.mean('similarity'):.1f} dB"


def _beats(rival: Candidate, chosen: Candidate) -> bool:
    """Whether it is as fast and closer, on the seeds that both were run with."""
    seeds = rival.measured.keys() & chosen.measured.keys()
    closer = sum(rival.measured[seed].similarity - chosen.measured[seed].similarity for seed in seeds)
    return bool(seeds) and closer > 0 and rival.mean("seconds") <= AS_FAST * chosen.mean("seconds")
