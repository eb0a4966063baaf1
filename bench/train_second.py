"""Train the second model (:mod:`bench.second_model`): ``make train-second`` (resumes; 40 minutes on two cores)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tqdm import tqdm

from tools.host import import_host, restart_with_allocator

restart_with_allocator()
import_host()
from bench.second_model import CAPTIONS, FILE, TRANSFORMER, WORDS  # noqa: E402
from bench.second_pictures import Pictures  # noqa: E402
from cat_core.host import demo  # noqa: E402
from tools.train_demo import DemoNetwork, fit_autoencoder, sample_times, to_pixels  # noqa: E402
from tools.training import fall, learn, save_state  # noqa: E402

STATE = FILE.with_name("state.pt")
ITERATIONS, BATCH, RATE, WARM, EMA, DROPOUT = 1600, 24, 1.5e-3, 100, 0.995, 0.1


def make_batch(iteration: int, autoencoder: demo.DemoAutoencoder) -> tuple[torch.Tensor, ...]:
    """Latents [B, 16, 32, 32], noise, times [B] and word numbers [B, 16]: the same in every run."""
    rng, tokenizer = np.random.default_rng(iteration), demo.DemoTokenizer(WORDS)
    captions = [str(rng.choice(CAPTIONS)) for _ in range(BATCH)]
    pixels = to_pixels(np.stack([Pictures().draw(caption, rng) for caption in captions]))
    numbers = [tokenizer.encode("" if rng.random() < DROPOUT else caption) for caption in captions]
    draw = torch.Generator().manual_seed(iteration)
    with torch.no_grad():
        latent = autoencoder.format.process_in(autoencoder.encode(pixels))
    return latent, torch.randn(latent.shape, generator=draw), sample_times(BATCH, draw), torch.tensor(numbers)


def train() -> None:
    """Train, from where an earlier run stopped, and write the model's file."""
    torch.manual_seed(0)
    network, average = (DemoNetwork(TRANSFORMER, WORDS) for _ in range(2))
    average.load_state_dict(network.state_dict())
    autoencoder = fit_autoencoder(Pictures(), lambda rng: str(rng.choice(CAPTIONS)))
    optimiser, done = torch.optim.AdamW(network.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.01), 0
    parts: dict[str, Any] = {"network": network, "average": average, "optimiser": optimiser}
    STATE.parent.mkdir(parents=True, exist_ok=True)
    if STATE.exists():
        state = torch.load(STATE, weights_only=True)
        done = state.pop("done")
        for name, part in parts.items():
            part.load_state_dict(state[name])
    bar = tqdm(range(done, ITERATIONS), initial=done, total=ITERATIONS)
    for iteration in bar:
        with torch.autocast("cpu", torch.bfloat16):
            error = network(*make_batch(iteration, autoencoder))
        learn(optimiser, error, RATE * min(1, (iteration + 1) / WARM) * fall(iteration / ITERATIONS))
        with torch.no_grad():
            rate = 1 - min(EMA, (1 + iteration) / (10 + iteration))
            torch._foreach_lerp_([*average.parameters()], [*network.parameters()], rate)
        bar.set_postfix(loss=f"{error.item():.3f}")
        if (iteration + 1) % 200 == 0:
            save_state({**{name: part.state_dict() for name, part in parts.items()}, "done": iteration + 1}, STATE)
    weights = {name: value.contiguous() for name, value in average.state_dict().items()}
    weights |= {f"vae.{name}": value.contiguous() for name, value in autoencoder.state_dict().items()}
    save_file(weights, FILE)


if __name__ == "__main__":
    train()
