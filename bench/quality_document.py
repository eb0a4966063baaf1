"""Writes ``docs/quality.md``, its curves and its raw numbers from what ``bench.quality`` measured."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import torch

from bench.methods import ALONE, BETWEEN, FEWER, LAZY, OTHERS, OURS, PUBLISHED, TUNED
from bench.quality_figure import save_figure
from bench.records import Row, write_rows
from bench.results import Results, by_target
from bench.sampling import SCHEDULER
from bench.statistics import Interval
from bench.tables import line
from bench.tasks import CONVERGED_SAMPLER, TEXT, Task

MATMUL = {
    "bf16": "float32 matrix products on the CPU may round their factors to bfloat16, in all runs alike",
    "highest": "float32 matrix products are exact to float32",
}
METRICS = {"psnr": ("PSNR", 1), "ssim": ("SSIM", 4), "haarpsi": ("HaarPSI", 4)}
RIVALS = (FEWER, LAZY, ALONE)
MODEL = {
    False: "The [demo model](../demo/README.md)",
    True: "A model that is not shipped ([bench/second_model.py](../bench/second_model.py) trains it)",
}
"""By whether it is the second one."""
FEWEST_POINTS = 4
"""Of a curve that is drawn."""
MINUS, MISSING = "\N{MINUS SIGN}", "n/a"


def write_document(folder: Path, rows: list[Row], command: str, matmul: str, task: Task = TEXT) -> None:
    """Write the page of a task, its raw numbers (.csv) and a figure per target into ``folder``.

    Args:
        rows: what counts, in the order in which tables show it.
        command: what measures the same again.
        matmul: a key of :data:`MATMUL`.
        task: what was sampled.
    """
    folder.mkdir(exist_ok=True)
    write_rows(folder / f"{task.name}.csv", rows)
    findings = folder / task.findings
    parts = [
        f"# {task.title}",
        findings.read_text(encoding="utf-8").strip() if findings.exists() else f"<!-- {findings.name} comes here -->",
        _measured(rows, command, matmul, task),
        _reading(task),
    ]
    for (sampler, steps), results in by_target(rows).items():
        name = f"{task.name}_{sampler}_{steps}.svg"
        if _is_curve(results):
            save_figure(folder / name, results, f"{sampler}, {steps} steps")
        parts.append(_section(sampler, steps, results, name))
    (folder / f"{task.name}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _measured(rows: list[Row], command: str, matmul: str, task: Task) -> str:
    prompts = {row.prompt for row in rows}
    pairs = {(row.prompt, row.seed) for row in rows}
    engines = ", ".join(sorted({f"`{row.engine}`" for row in rows if row.engine}))
    hosts = " and ".join(sorted({row.host for row in rows}, key=lambda host: [*map(int, host.split("."))]))
    used = f"ComfyUI {hosts}, torch {torch.__version__}, threads: {torch.get_num_threads()}"
    return f"""## How it was measured

    {command}

{MODEL[task.second]} in ComfyUI, by the host's nodes (CLIP Text Encode, KSampler, VAE Decode), decoded
linearly: {len(prompts)} prompts, {len(pairs)} pairs of prompt and seed, CFG {task.cfg:g}, scheduler {SCHEDULER}.
{used}; {date.today().isoformat()}; {MATMUL[matmul]}. Engine {engines} ([what it does](engine.json)).
All numbers of every picture are in [{task.name}.csv]({task.name}.csv)."""


def _reading(task: Task) -> str:
    target = "un-accelerated one of the same sampler, steps, prompt and seed"
    if task.converged:
        target = f"un-accelerated one of {task.converged} steps of {CONVERGED_SAMPLER}, of the same prompt and seed"
    return f"""## How to read the tables

Every picture is compared with the {target}.

- **n**: pictures. Methods with fewer than others were measured on a part of them: compare their Δ, not their means.
- **Cost**: multiply-accumulates of the run, attention included, over those of the un-accelerated run; what that is in
  seconds is in [speed.md](speed.md).
- **PSNR** in dB (100 where two pictures are identical), **SSIM** and **HaarPSI** (1 is identical): means over
  pictures. **Error**: norm of the latents' difference over the norm of the un-accelerated one.
- **Δ**: mean difference to *fewer steps* at equal cost. For each prompt and seed, the value of fewer steps lies on
  straight lines between the measured numbers of steps. ± is the 95 % interval of the mean, in which all seeds of a
  prompt count as one observation. Above zero is better than fewer steps.
- {MISSING}: no rival of this cost was measured. A number in brackets says for how many pictures there was one, if not
  for all."""


def _section(sampler: str, steps: int, results: Results, figure: str) -> str:
    title = f"{sampler}, {steps} steps"
    parts = [f"## {title}", f"![PSNR against cost, {title}]({figure})" if _is_curve(results) else "", _table(results)]
    if rivals := _rivals(results):
        parts.append(f"Settings and their rivals, mean paired difference of PSNR in dB:\n\n{rivals}")
    return "\n\n".join(filter(None, parts))


def _is_curve(results: Results) -> bool:
    """Whether there are numbers of steps enough to draw against."""
    return len(results.methods(FEWER)) >= FEWEST_POINTS


def _table(results: Results) -> str:
    head = ["Method", "n", "Cost", *(name for name, _ in METRICS.values()), "Error"]
    head += [f"Δ {name}" for name, _ in METRICS.values()]
    lines = [line(head), line(["---", *["--:"] * (len(head) - 1)])]
    group = None
    for method in results.group:
        if results.group[method] != group:
            group = results.group[method]
            lines.append(line([f"*{group}*", *[""] * (len(head) - 1)]))
        lines.append(line(_cells(results, method)))
    return "\n".join(lines)


def _cells(results: Results, method: str) -> list[str]:
    means = [_number(results.mean(method, key).mean, digits) for key, (_, digits) in METRICS.items()]
    differences = [
        _difference(results.difference(method, FEWER, key), digits, len(results.pairs))
        if results.group[method] != FEWER
        else ""
        for key, (_, digits) in METRICS.items()
    ]
    return [
        method,
        str(results.mean(method, "psnr").count),
        _number(results.mean(method, "cost").mean, 2),
        *means,
        _number(results.mean(method, "latent_error").mean, 3),
        *differences,
    ]


def _rivals(results: Results) -> str:
    """PSNR of this project's settings and combinations against rivals' curves and single rivals; empty without any."""
    rivals = [group for group in RIVALS if len(results.methods(group)) > 1]
    tuned = results.methods(TUNED)
    single = [*results.methods(PUBLISHED), *results.methods(OTHERS), *(results.methods(OURS) if tuned else [])]
    methods = tuned or [method for group in (OURS, BETWEEN) for method in results.methods(group)]
    if not methods or not (rivals or single):
        return ""
    head = [f"above {rival} of equal cost" for rival in rivals]
    for rival in single:
        name = "paper" if results.group[rival] == PUBLISHED else rival
        head.append(f"above {name} (cost {results.mean(rival, 'cost').mean:.2f})")
    lines = [line(["Method", "Cost", *head]), line(["---", *["--:"] * (len(head) + 1)])]
    for method in methods:
        found = [results.difference(method, rival, "psnr") for rival in rivals]
        found += [results.plain_difference(method, rival, "psnr") for rival in single]
        cells = [_difference(interval, 1, len(results.pairs)) for interval in found]
        lines.append(line([method, _number(results.mean(method, "cost").mean, 2), *cells]))
    return "\n".join(lines)


def _difference(interval: Interval, digits: int, pairs: int) -> str:
    if interval.count == 0:
        return MISSING
    text = f"{interval.mean:+.{digits}f} ± {_number(interval.half, digits)}".replace("-", MINUS)
    return text if interval.count == pairs else f"{text} ({interval.count})"


def _number(value: float, digits: int) -> str:
    return MISSING if value != value else f"{value:.{digits}f}"  # noqa: PLR0124 (NaN)
