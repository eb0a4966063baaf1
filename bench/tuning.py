"""Tunes settings for the quality benchmark, as CAT Pruning Tune does: ``make bench-tuning``.

On one prompt that the benchmark does not have, with 12 runs: the closest at the cost of a preset. What is found is
written down in docs; ``bench-quality`` with the same task then measures it on prompts and seeds that were not seen.
"""

from __future__ import annotations

import argparse
import json
from itertools import product

import torch

from tools.host import import_host, restart_with_allocator

restart_with_allocator()
import_host(cpu=not torch.cuda.is_available())
from bench.finding import LINES, SAMPLERS, STEPS, tune  # noqa: E402
from bench.methods import TUNED_TO, found_file  # noqa: E402
from bench.sampling import DemoSampler, read_prompts, set_matmul  # noqa: E402
from bench.tasks import TASKS  # noqa: E402
from cat_core.settings import KNOBS  # noqa: E402

SIDE = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=list(LINES), default="tuned")
    task = TASKS[parser.parse_args().task]
    set_matmul("bf16")
    host, prompt = DemoSampler(SIDE, task), read_prompts(task)[LINES[task.name]]
    found: dict[str, dict[str, dict[str, object]]] = {}
    with torch.inference_mode():
        for sampler, steps, preset in product(SAMPLERS, STEPS, TUNED_TO):
            settings = tune(host, prompt, sampler, steps, preset)
            knobs = {name: getattr(settings, name) for name in KNOBS}
            found.setdefault(f"{sampler} {steps}", {})[preset] = knobs
    found_file(task).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
