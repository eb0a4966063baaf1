"""Tunes settings for the quality benchmark, as CAT Pruning Tune does: ``make bench-tuning``.

On one prompt that the benchmark does not have, with 12 runs: the closest at the cost of a preset. What is found is
written down as ``tuned.json`` or ``tuned_second.json`` in docs; ``bench-quality`` with the task of that name then
measures it on prompts and seeds that were not seen.
"""

from __future__ import annotations

import argparse
import json
from itertools import product

import torch

from tools.host import import_host, restart_with_allocator

restart_with_allocator()
import_host(cpu=not torch.cuda.is_available())
from bench.methods import FOUND, TUNED_TO, read_found  # noqa: E402
from bench.quality import read_prompts  # noqa: E402
from bench.sampling import NEGATIVE, SCHEDULER, DemoSampler, set_matmul  # noqa: E402
from bench.tasks import TASKS  # noqa: E402
from cat_core.host.aims import Pictures, describe  # noqa: E402
from cat_core.host.graph import make_guider, sample_like_ksampler  # noqa: E402
from cat_core.host.tuning import make_tuner  # noqa: E402
from cat_core.settings import KNOBS, PRESETS, CATSettings  # noqa: E402

SAMPLERS, STEPS = ("euler", "dpmpp_2m"), (28, 20)
BUDGET, SEEDS, SIDE = 12, 2, 32
LINE, SEED = 1, 70_000
"""The benchmark has every second line, and other seeds."""


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=[name for name, task in TASKS.items() if task.tuned], default="tuned")
    task = TASKS[parser.parse_args().task]
    set_matmul("bf16")
    host, prompt, found = DemoSampler(SIDE, task), read_prompts(task)[LINE], read_found(task)
    with torch.inference_mode():
        for sampler, steps, preset in product(SAMPLERS, STEPS, TUNED_TO):
            settings = tune(host, prompt, sampler, steps, preset)
            knobs = {name: getattr(settings, name) for name in KNOBS}
            found.setdefault(f"{sampler} {steps}", {})[preset] = knobs
    file = FOUND / f"{task.name}.json"
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
