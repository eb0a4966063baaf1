"""Samples every target and method that is not measured yet, and records how close they come."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from tqdm import tqdm

from bench.methods import Method, methods, target
from bench.metrics import compare_pictures, relative_error
from bench.records import Records, Row, engine_version, fingerprint
from bench.sampling import DemoSampler, Sample, setup


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
    """

    def __init__(self, options: argparse.Namespace, pairs: list[Pair]):
        self.options, self.pairs = options, pairs
        self.setup, self.engine = setup(options.side, options.matmul), engine_version()
        self.records = Records(options.out / "quality.csv")
        self.targets = options.out / "targets"

    def tasks(self) -> Iterator[tuple[Pair, str, int, list[Method]]]:
        """(pair, sampler, steps, methods) for every target, with the methods that are still to be measured."""
        for pair in self.pairs:
            for sampler in self.options.samplers:
                for steps in self.options.steps:
                    wanted = [method for method in methods(steps) if self._wanted(method)]
                    missing = [m for m in wanted if not self._known(m, sampler, steps, pair)]
                    if missing:
                        yield pair, sampler, steps, missing

    def _wanted(self, method: Method) -> bool:
        return any(part in f"{method.group}/{method.name}" for part in self.options.methods)

    def _known(self, method: Method, sampler: str, steps: int, pair: Pair) -> bool:
        place = (sampler, steps, pair.prompt, pair.seed, method.name)
        any_engine = self.options.any_engine
        return self.records.known(place, self._fingerprint(method), None if any_engine else self._engine(method))

    def _fingerprint(self, method: Method) -> str:
        return fingerprint(self.setup, method.recipe())

    def _engine(self, method: Method) -> str:
        return "" if method.settings is None else self.engine

    def run(self) -> None:
        """Measure all tasks, with a progress bar that counts pictures."""
        tasks = list(self.tasks())
        if not tasks:
            return
        host = DemoSampler(self.options.side)
        # the first run of a process is slow and would be timed
        host.sample(target(2), self.options.samplers[0], self.pairs[0].prompt, self.pairs[0].seed)
        bar = tqdm(total=sum(len(missing) for *_, missing in tasks), unit="picture", smoothing=0.02)
        for pair, sampler, steps, missing in tasks:
            reference = self._target(host, pair, sampler, steps)
            for method in missing:
                bar.set_description(f"{sampler} {steps}, {pair.prompt[:24]}, {method.name}")
                self.records.append(
                    self._twin(pair, sampler, steps, method)
                    or self._measure(host, pair, sampler, steps, method, reference)
                )
                bar.update()
        bar.close()

    def _target(self, host: DemoSampler, pair: Pair, sampler: str, steps: int) -> Sample:
        """The target; its seconds are NaN where it comes from an earlier run.

        The first few prompts' targets are sampled again in every run, so that seconds of methods and targets of the
        same run can be compared.
        """
        key = fingerprint(self.setup, sampler, str(steps), pair.prompt, str(pair.seed))
        file = self.targets / f"{key}.pt"
        kept = torch.load(file, weights_only=True) if file.exists() else None
        if kept is not None and pair.number >= self.options.timed:
            return Sample(kept["latent"], kept["macs"], np.nan)
        sample = host.sample(target(steps), sampler, pair.prompt, pair.seed)
        if kept is not None:
            if not torch.equal(kept["latent"], sample.latent):
                tqdm.write(f"Another target than an earlier run's, which is kept: {pair.prompt!r}, seed {pair.seed}")
            return Sample(kept["latent"], sample.macs, sample.seconds)
        self.targets.mkdir(parents=True, exist_ok=True)
        torch.save({"latent": sample.latent, "macs": sample.macs}, file.with_suffix(".new"))
        file.with_suffix(".new").replace(file)
        return sample

    def _twin(self, pair: Pair, sampler: str, steps: int, method: Method) -> Row | None:
        """The measurement of another method that does the same under another name, if there is one."""
        for other in methods(steps):
            if other.recipe() == method.recipe() and self._known(other, sampler, steps, pair):
                row = self.records.rows[sampler, steps, pair.prompt, pair.seed, other.name]
                return replace(row, method=method.name, group=method.group)
        return None

    def _measure(
        self, host: DemoSampler, pair: Pair, sampler: str, steps: int, method: Method, reference: Sample
    ) -> Row:
        sample = host.sample(method, sampler, pair.prompt, pair.seed)
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
            cost=sample.macs / reference.macs,
            seconds=sample.seconds,
            target_seconds=reference.seconds,
            latent_error=relative_error(host.model_latent(sample.latent), host.model_latent(reference.latent)),
            note=sample.note,
            **compare_pictures(host.picture(sample.latent), host.picture(reference.latent)),
        )

    def counting_rows(self) -> list[Row]:
        """Rows of the chosen targets whose methods are the present ones, in the order of the tables."""
        rows = self.records.rows
        places = (
            ((sampler, steps, pair.prompt, pair.seed, method.name), method)
            for sampler in self.options.samplers
            for steps in self.options.steps
            for method in methods(steps)
            for pair in self.pairs
        )
        return [rows[place] for place, method in places if self.records.known(place, self._fingerprint(method), None)]
