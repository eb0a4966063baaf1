"""How close pictures with CAT Pruning stay to the un-accelerated ones, and at what cost: ``make bench-quality``.

The demo model samples every prompt and seed un-accelerated (the target) and by every method of ``bench.methods``, with
the host's own nodes. Each picture is a row of ``quality.csv`` in the output folder. What is measured already, and of
this engine (``bench.engine``), is not measured again: the benchmark can be interrupted at any time, and methods,
prompts or seeds can be added later.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import torch

from tools.host import ROOT, import_host, restart_with_allocator

restart_with_allocator()
import_host(cpu=not torch.cuda.is_available())
from bench.engine import QUALITY, identify  # noqa: E402
from bench.measuring import Benchmark, choose_pairs  # noqa: E402
from bench.quality_document import write_document  # noqa: E402
from bench.rivals import INSTALL, is_installed  # noqa: E402
from bench.sampling import MATMUL, PROMPTS, read_prompts, set_matmul  # noqa: E402
from bench.tasks import RIVALS, TASKS, TEXT  # noqa: E402

OUT = ROOT / ".dev" / "quality"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--task", choices=list(TASKS), default=TEXT.name, help="what is sampled")
    add("--samplers", type=_words, default=["euler", "dpmpp_2m"], help="comma-separated")
    add("--steps", type=_numbers, default=[28, 50, 8], help="steps of the targets, comma-separated")
    add("--prompts", type=int, default=32, help="how many prompts, spread evenly over the file")
    add("--seeds", type=int, default=2, help="seeds per prompt")
    add("--methods", type=_words, default=[""], help="only methods whose group/name contains one of these")
    add("--prompt-file", type=Path, default=PROMPTS, help="a prompt per line")
    add("--side", type=int, default=64, help="latent side; tokens are (side / 2) squared")
    add("--matmul", choices=list(MATMUL), default="bf16", help="precision of the CPU's float32 matrix products")
    add("--out", type=Path, default=OUT, help="folder of raw numbers and targets")
    add("--document", type=Path, nargs="?", const=ROOT / "docs", help="then write tables and curves (docs/quality.md)")
    return parser.parse_args()


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _numbers(text: str) -> list[int]:
    return [int(word) for word in _words(text)]


def main() -> None:
    options = parse()
    lines = read_prompts(TASKS[options.task], options.prompt_file)
    if options.task == RIVALS.name and not is_installed():
        print(f"cache-dit is left out; to have it measured: {INSTALL}")
    set_matmul(options.matmul)
    benchmark = Benchmark(options, choose_pairs(lines, options.prompts, options.seeds), identify(QUALITY))
    with torch.inference_mode():
        benchmark.run()
    if options.document:
        write_document(options.document, benchmark.counting_rows(), command(options), options.matmul, benchmark.task)


def command(options: argparse.Namespace) -> str:
    """The command that measures the same, without paths."""
    names = ("task", "samplers", "steps", "prompts", "seeds", "side", "matmul")
    values = {name: getattr(options, name) for name in names}
    lists = {name: value if isinstance(value, list) else [value] for name, value in values.items()}
    lists |= {"methods": options.methods} if any(options.methods) else {}
    given = " ".join(f"--{name} {shlex.quote(','.join(map(str, items)))}" for name, items in lists.items())
    return f"python3.11 tools/dev.py bench-quality {given} --document"


if __name__ == "__main__":
    main()
