"""What the trainers share: a rate that falls, steps of learning, and files that are whole or not there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from tqdm import tqdm


def fall(progress: float) -> float:
    """Factor of a learning rate that falls from 1 to 0.02 along a cosine, while ``progress`` goes from 0 to 1."""
    return 0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * progress))


def learn(optimiser: torch.optim.Optimizer, error: torch.Tensor, rate: float) -> None:
    """One step down ``error``, with gradients clipped to a norm of 1."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    error.backward()
    torch.nn.utils.clip_grad_norm_(
        [parameter for group in optimiser.param_groups for parameter in group["params"]], 1.0
    )
    optimiser.step()


def save_state(state: dict, path: Path) -> None:
    """Write what a trainer resumes from; an interrupt leaves what was there before."""
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def missing_samples(folder: Path, count: int, name: str) -> Iterator[tuple[int, Path]]:
    """Numbers and paths of those of ``count`` samples that are not in ``folder`` yet, with a progress bar."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in tqdm(range(count), desc=name):
        path = folder / f"{number:05}.safetensors"
        if not path.exists():
            yield number, path


def samples(folder: Path) -> list[Path]:
    """The samples that are there."""
    return sorted(folder.glob("*.safetensors"))


def write_sample(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write a sample whole."""
    save_file(tensors, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)
