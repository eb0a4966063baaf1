"""Tunes settings as CAT Pruning Tune does, on a prompt that the quality benchmark does not have (``bench.tuning``)."""

from __future__ import annotations

from bench.sampling import NEGATIVE, SCHEDULER, DemoSampler
from cat_core.host.aims import Pictures, describe
from cat_core.host.graph import make_guider, sample_like_ksampler
from cat_core.host.tuning import make_tuner
from cat_core.settings import PRESETS, CATSettings

SAMPLERS, STEPS = ("euler", "dpmpp_2m"), (28, 20)
BUDGET, SEEDS = 12, 2
LINES, SEED = {"tuned": 1, "tuned_second": 2}, 70_000
"""Prompts that the benchmark does not have, by task, and the first of the seeds, which it does not have either."""


def tune(host: DemoSampler, prompt: str, sampler: str, steps: int, preset: str) -> CATSettings:
    """The closest settings at the cost of ``preset``."""
    latent = host.begin(prompt, SEED)
    guider = make_guider(host.model, host.encode(prompt), host.encode(NEGATIVE), host.task.cfg)
    graph = sample_like_ksampler(guider, latent, steps, sampler, SCHEDULER, 1.0)
    cost = graph.run(SEED, PRESETS[preset]).cost
    tuner = make_tuner(graph, range(SEED, SEED + SEEDS), BUDGET, Pictures(host.vae.decode).compare)
    tuner.find_closest(cost)
    print(f"{sampler}, {steps} steps, at most {cost:.2f}:\n{describe(tuner.findings, 'pictures')}\n", flush=True)
    chosen = tuner.findings.chosen
    return chosen.settings if chosen and chosen.settings else PRESETS[preset]
