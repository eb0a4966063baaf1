"""Samples every target and method that is not measured yet, and records how close they come."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from comfyui_version import __version__ as host_version
from tqdm import tqdm

from bench.methods import TARGET, Method, methods, target
from bench.metrics import compare_pictures, relative_error
from bench.records import Records, Row, fingerprint
from bench.sampling import DemoSampler, Sample, setup
from bench.tasks import CONVERGED_SAMPLER, TASKS


@dataclass(frozen=True)
class Pair:
    """A prompt and a seed, the unit of comparison; ``number`` counts the prompts from 0."""

    number: int
    prompt: str
    seed: int


def choose_pairs(lines: list[str], prompts: int, seeds: int) -> list[Pair]:
    """``prompts`` of the lines, spread evenly, each with ``seeds`` seeds of its own; all prompts' first seeds first."""
    count = min(prompts, len(lines))
    places = [i * len(lines) // count for i in range(count)]
    return [Pair(i, lines[place], 100 * place + seed) for seed in range(seeds) for i, place in enumerate(places)]


class Benchmark:
    """Measures what is missing.

    Args:
        options: the command line, see ``bench.quality``.
        pairs: prompts and seeds.
        engine: fingerprint of the engine, see :mod:`bench.engine`.
    """

    def __init__(self, options: argparse.Namespace, pairs: list[Pair], engine: str):
        self.options, self.pairs, self.engine = options, pairs, engine
        self.task = TASKS[options.task]
        self.setup = setup(options.side, options.matmul, self.task)
        self.records = Records(options.out / f"{self.task.name}.csv")
        self.targets = options.out / "targets"

    def tasks(self) -> Iterator[tuple[Pair, str, int, list[Method]]]:
        """(pair, sampler, steps, methods) for every target, with the methods that are still to be measured."""
        for pair in self.pairs:
            for sampler in self.options.samplers:
                for steps in self.options.steps:
                    wanted = [method for method in methods(steps, self.task, sampler) if self._wants(method)]
                    missing = [m for m in wanted if not self._has(m, sampler, steps, pair)]
                    if missing:
                        yield pair, sampler, steps, missing

    def _wants(self, method: Method) -> bool:
        return any(part in f"{method.group}/{method.name}" for part in self.options.methods)

    def _has(self, method: Method, sampler: str, steps: int, pair: Pair) -> bool:
        place = (sampler, steps, pair.prompt, pair.seed, method.name)
        return self.records.has(place, self._fingerprint(method), self._engine(method))

    def _fingerprint(self, method: Method) -> str:
        return fingerprint(self.setup, method.recipe())

    def _engine(self, method: Method) -> str:
        return self.engine if method.ours else ""

    def run(self) -> None:
        """Measure all tasks, with a progress bar that counts pictures."""
        tasks = list(self.tasks())
        if not tasks:
            return
        host = DemoSampler(self.options.side, self.task)
        bar = tqdm(total=sum(len(missing) for *_, missing in tasks), unit="picture", smoothing=0.02)
        for pair, sampler, steps, missing in tasks:
            full = self._target(host, pair, sampler, steps)
            converged = self.task.converged and self._target(host, pair, CONVERGED_SAMPLER, self.task.converged)
            for method in missing:
                bar.set_description(f"{sampler} {steps}, {pair.prompt[:24]}, {method.name}")
                self.records.append(
                    self._twin(pair, sampler, steps, method)
                    or self._measure(host, pair, sampler, steps, method, full, converged or full)
                )
                bar.update()
        bar.close()

    def _target(self, host: DemoSampler, pair: Pair, sampler: str, steps: int) -> Sample:
        """The target, from an earlier run if there is one."""
        key = fingerprint(self.setup, host_version, sampler, str(steps), pair.prompt, str(pair.seed))
        file = self.targets / f"{key}.pt"
        if file.exists():
            return Sample(**torch.load(file, weights_only=True))
        sample = host.sample(target(steps), sampler, pair.prompt, pair.seed)
        self.targets.mkdir(parents=True, exist_ok=True)
        torch.save({"latent": sample.latent, "macs": sample.macs}, file.with_suffix(".new"))
        file.with_suffix(".new").replace(file)
        return sample

    def _twin(self, pair: Pair, sampler: str, steps: int, method: Method) -> Row | None:
        """The measurement of another method that does the same under another name, if there is one."""
        for other in methods(steps, self.task, sampler):
            if other.recipe() == method.recipe() and self._has(other, sampler, steps, pair):
                row = self.records.rows[sampler, steps, pair.prompt, pair.seed, other.name]
                return replace(row, method=method.name, group=method.group)
        return None

    def _measure(
        self,
        host: DemoSampler,
        pair: Pair,
        sampler: str,
        steps: int,
        method: Method,
        full: Sample,
        reference: Sample,
    ) -> Row:
        """Compare with ``reference``, and with the cost of ``full``."""
        done = full if method.group == TARGET else None
        sample = done or host.sample(method, method.sampler or sampler, pair.prompt, pair.seed)
        return Row(
            sampler=sampler,
            target_steps=steps,
            prompt=pair.prompt,
            seed=pair.seed,
            method=method.name,
            group=method.group,
            steps=method.steps,
            fingerprint=self._fingerprint(method),
            engine=self._engine(method),
            host=host_version,
            cost=sample.macs / full.macs,
            latent_error=relative_error(host.model_latent(sample.latent), host.model_latent(reference.latent)),
            note=sample.note,
            **compare_pictures(host.picture(sample.latent), host.picture(reference.latent)),
        )

    def counting_rows(self) -> list[Row]:
        """Rows of the chosen targets whose methods and engine are the present ones, in the order of the tables."""
        return [
            self.records.rows[sampler, steps, pair.prompt, pair.seed, method.name]
            for sampler in self.options.samplers
            for steps in self.options.steps
            for method in methods(steps, self.task, sampler)
            for pair in self.pairs
            if self._has(method, sampler, steps, pair)
        ]
