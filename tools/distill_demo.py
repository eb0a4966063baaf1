"""Distil the demo model to 8 steps without CFG: ``python tools/dev.py distill teach``, then ``train``, then ``export``.

The teacher's guided pictures of 16 euler steps are kept as trajectories. The student learns, at each of its 8 noise
levels, the mean velocity to the next one (the target of progressive distillation, arXiv 2202.00512 section 3). What it
learns is a low-rank difference of the transformer's linear layers (LoRA, arXiv 2106.09685), which is shipped as such.
``teach`` and ``train`` resume, and may run side by side, each on a core for half an hour and more.
"""

from __future__ import annotations

import argparse
import json
import math
from itertools import pairwise

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn.utils import parametrize
from tqdm import tqdm

from tools.host import ROOT, import_host, restart_with_allocator

restart_with_allocator()
import_host()
import comfy.samplers  # noqa: E402

from cat_core.host import demo  # noqa: E402
from tools.demo_data import random_scene  # noqa: E402
from tools.train_demo import DemoNetwork  # noqa: E402
from tools.training import fall, learn, missing_samples, samples, save_state, write_sample  # noqa: E402

FOLDER = ROOT / ".dev" / "distil"
STATE = FOLDER / "state.pt"
STEPS, TEACHER_STEPS, CFG = 8, 16, 4.0
SIDE = 64
TRAJECTORIES, ITERATIONS, BATCH = 200, 700, 4
RANK, RATE = 32, 1e-3


class LowRank(torch.nn.Module):
    """A weight [out, in] and its learned difference B A of rank ``RANK``; nothing at first."""

    def __init__(self, weight: torch.Tensor):
        super().__init__()
        out, width = weight.shape
        self.a = torch.nn.Parameter(torch.randn(RANK, width) / math.sqrt(width))
        self.b = torch.nn.Parameter(torch.zeros(out, RANK))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + self.b @ self.a


def load_network() -> tuple[DemoNetwork, demo.DemoTokenizer]:
    """The shipped demo model as one float32 network, nothing of it to be trained."""
    tensors, vocabulary = demo.read_demo_file()
    network = DemoNetwork(demo.TRANSFORMER, vocabulary).requires_grad_(False)
    network.load_state_dict({k: v.float() for k, v in tensors.items() if not k.startswith("vae.")})
    return network, demo.DemoTokenizer(vocabulary)


def find_sigmas(steps: int) -> torch.Tensor:
    """The noise levels [steps + 1] that the host's ``simple`` scheduler gives the demo model."""
    sampling = demo.load_demo(refined=False)[0].get_model_object("model_sampling")
    return comfy.samplers.calculate_sigmas(sampling, "simple", steps)


def velocity(network: DemoNetwork, x: torch.Tensor, sigma: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """What the model predicts at ``x`` [B, 16, H, W], ``sigma`` [B], for words ``numbers`` [B, words]."""
    context, pooled = network.text(numbers)
    with torch.autocast("cpu", torch.bfloat16):
        return network.model(x, sigma * 1000, context=context, y=pooled).float()


def denoise(network: DemoNetwork, x: torch.Tensor, sigmas: torch.Tensor, words: torch.Tensor) -> list[torch.Tensor]:
    """All latents of guided euler steps from ``x`` [1, 16, H, W] along ``sigmas``; ``words`` [2, n] of both prompts."""
    states = [x]
    for sigma, following in pairwise(sigmas):
        positive, negative = velocity(network, x.repeat(2, 1, 1, 1), sigma.repeat(2), words).chunk(2)
        x = x + (negative + CFG * (positive - negative)) * (following - sigma)
        states.append(x)
    return states


@torch.inference_mode()
def teach() -> None:
    """Write the trajectories that are missing: latents [STEPS + 1, 16, SIDE, SIDE] in the model's scale, and words."""
    network, tokenizer = load_network()
    sigmas = find_sigmas(TEACHER_STEPS)
    for n, path in missing_samples(FOLDER, TRAJECTORIES, "trajectories"):
        words = [tokenizer.encode(random_scene(np.random.default_rng([n])).caption), tokenizer.encode("")]
        x = torch.randn(1, demo.LATENT_CHANNELS, SIDE, SIDE, generator=torch.Generator().manual_seed(n))
        states = denoise(network, x, sigmas, torch.tensor(words))
        tensors = {"x": torch.cat(states)[:: TEACHER_STEPS // STEPS].half(), "words": torch.tensor(words[:1])}
        write_sample(tensors, path)


def draw_batch(iteration: int, sigmas: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Latents, their noise levels, words, and the mean velocities to the next levels; every level comes equally often.

    Iteration i is the same in every run once all trajectories are there.
    """
    rng = np.random.default_rng([iteration])
    there = samples(FOLDER)
    files = [there[number] for number in rng.choice(len(there), BATCH, replace=False)]
    levels = (iteration * BATCH + np.arange(BATCH)) % STEPS
    now, following, words = [], [], []
    for path, level in zip(files, levels, strict=True):
        with safe_open(path, framework="pt") as file:
            pair = file.get_slice("x")[int(level) : int(level) + 2].float()
            words.append(file.get_tensor("words"))
        now.append(pair[:1])
        following.append(pair[1:])
    at, to = sigmas[levels], sigmas[levels + 1]
    x = torch.cat(now)
    return x, at, torch.cat(words), (torch.cat(following) - x) / (to - at).view(-1, 1, 1, 1)


def make_student(network: DemoNetwork) -> list[torch.nn.Parameter]:
    """Give each linear layer of the transformer a difference to learn; return all factors."""
    torch.manual_seed(0)
    learned = []
    for module in [m for m in network.model.modules() if isinstance(m, torch.nn.Linear)]:
        difference = LowRank(module.weight)
        parametrize.register_parametrization(module, "weight", difference)
        learned += [difference.a, difference.b]
    return learned


def differences(network: DemoNetwork) -> dict[str, torch.Tensor]:
    """The learned factors by the names that the host's LoRA loader reads (``comfy/lora.py``)."""
    factors = {}
    for name, module in network.model.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            difference = module.parametrizations.weight[0]
            factors[f"diffusion_model.{name}.lora_A.weight"] = difference.a.detach()
            factors[f"diffusion_model.{name}.lora_B.weight"] = difference.b.detach()
    return factors


def train() -> None:
    """Train the student on the trajectories that are there; saves every 50 iterations."""
    network, _ = load_network()
    sigmas = find_sigmas(STEPS)
    learned = make_student(network)
    optimiser = torch.optim.AdamW(learned, lr=RATE, betas=(0.9, 0.99), weight_decay=0)
    done, loss = 0, float("nan")
    if STATE.exists():
        state = load_state(learned)
        optimiser.load_state_dict(state["optimiser"])
        done, loss = state["done"], state["loss"]
    bar = tqdm(range(done, ITERATIONS), initial=done, total=ITERATIONS, desc="student")
    for i in bar:
        x, at, words, target = draw_batch(i, sigmas)
        error = ((velocity(network, x, at, words) - target) ** 2).mean()
        learn(optimiser, error, RATE * min(1, (i + 1) / 50) * fall(i / ITERATIONS))
        loss = error.item() if math.isnan(loss) else 0.98 * loss + 0.02 * error.item()
        bar.set_postfix(loss=f"{loss:.4f}")
        if (i + 1) % 50 == 0 or i + 1 == ITERATIONS:
            state = {"learned": learned, "optimiser": optimiser.state_dict(), "done": i + 1, "loss": loss}
            save_state(state, STATE)


def load_state(learned: list[torch.nn.Parameter]) -> dict:
    """What ``train`` saved, with its factors put into ``learned``."""
    state = torch.load(STATE, weights_only=True)
    for parameter, value in zip(learned, state["learned"], strict=True):
        parameter.data.copy_(value)
    return state


def export() -> None:
    """Write the learned difference as a LoRA file in bfloat16, with what it was trained to as metadata."""
    network, _ = load_network()
    state, path = load_state(make_student(network)), demo.DISTILLED_FILE
    training = {"iterations": state["done"], "loss": state["loss"], "trajectories": len(samples(FOLDER))}
    metadata = {"format": "pt", "training": json.dumps(training), "license": "MIT (see demo/README.md)"}
    save_file({name: factor.bfloat16().contiguous() for name, factor in differences(network).items()}, path, metadata)
    print(f"wrote {path.name}: {path.stat().st_size / 1e6:.1f} MB, {training}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    tasks = {"teach": teach, "train": train, "export": export}
    parser.add_argument("task", choices=list(tasks))
    tasks[parser.parse_args().task]()


if __name__ == "__main__":
    main()
