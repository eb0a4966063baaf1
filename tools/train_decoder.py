"""Train what the demo model's decoder adds to plain patches: ``tools/dev.py decoder draw``, ``train``, ``export``.

The latents are those of the linear autoencoder. What is added to its pictures is learned from pairs: a scene, and the
latent that the model makes of it when it denoises its last steps again, with the ragged edges that pictures of its own
have. So edges become clean that no single patch knows of. One latent in four is the scene's own, so that a picture that
is encoded comes back as it was. ``draw`` and ``train`` resume, a quarter of an hour each.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from tools.host import ROOT, import_host, restart_with_allocator

restart_with_allocator()
import_host()
from cat_core.host import demo  # noqa: E402
from tools.demo_data import EmojiScenes, fetch_pictures, random_scene  # noqa: E402
from tools.distill_demo import denoise, find_sigmas, load_network  # noqa: E402
from tools.train_demo import to_pixels  # noqa: E402
from tools.training import fall, learn, missing_samples, samples, save_state, write_sample  # noqa: E402

FOLDER = ROOT / ".dev" / "decoder"
STATE = FOLDER / "state.pt"
PAIRS, LAST_PAIRS, OWN = 280, 16, 0.25
"""Pairs that are drawn; how many of them nothing is learned from, they tell how good it is; how often the scene's own
latent is taken."""
STEPS, FEWEST, MOST = 20, 4, 9
"""Steps of a whole run, and how many of its last ones the model denoises again."""
ITERATIONS, BATCH, CROP, RATE = 1500, 6, 32, 1e-3


@torch.inference_mode()
def draw(emoji: Path) -> None:
    """Write the pairs that are missing: ``picture`` [3, 256, 256] uint8 and ``latent`` [16, 64, 64]."""
    fetch_pictures(emoji)
    scenes, autoencoder = EmojiScenes(emoji), load_autoencoder()
    network, tokenizer = load_network()
    sigmas = find_sigmas(STEPS)
    for n, path in missing_samples(FOLDER, PAIRS, "pairs"):
        rng = np.random.default_rng([n, 1])
        scene = random_scene(rng)
        picture = scenes.draw(scene, rng)
        clean = autoencoder.format.process_in(autoencoder.encode(to_pixels(picture[None])))
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(n))
        levels = sigmas[-1 - int(rng.integers(FEWEST, MOST + 1)) :]
        x = (1 - levels[0]) * clean + levels[0] * noise
        words = torch.tensor([tokenizer.encode(scene.caption), tokenizer.encode("")])
        x = denoise(network, x, levels, words)[-1]
        pixels = torch.from_numpy(picture.round().astype(np.uint8)).permute(2, 0, 1).contiguous()
        write_sample({"picture": pixels, "latent": x[0].half().contiguous()}, path)


def load_autoencoder() -> demo.DemoAutoencoder:
    """The shipped autoencoder, without its refinement."""
    return demo.load_demo(refined=False)[2].first_stage_model.float().requires_grad_(False)


def start_refinement() -> demo.Refinement:
    """A refinement that adds nothing yet."""
    torch.manual_seed(0)
    refinement = demo.Refinement()
    convolutions = [module for module in refinement.modules() if isinstance(module, torch.nn.Conv2d)]
    for convolution in convolutions:
        torch.nn.init.kaiming_uniform_(convolution.weight, a=5**0.5)
        if convolution.bias is not None:
            torch.nn.init.zeros_(convolution.bias)
    torch.nn.init.zeros_(convolutions[-1].weight)
    return refinement


def load_pairs() -> tuple[torch.Tensor, torch.Tensor]:
    """All pairs: latents [N, 16, 64, 64] in the model's scale, and pictures [N, 3, 256, 256] in -1..1."""
    pairs = [load_file(path) for path in samples(FOLDER)]
    latents = torch.stack([pair["latent"] for pair in pairs]).float()
    return latents, torch.stack([pair["picture"] for pair in pairs]).float() / 127.5 - 1


def loss_of(decoded: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of the pixels, and of their differences to the neighbours, which are what an edge is."""
    error = decoded - pictures
    return error.abs().mean() + sum(error.diff(dim=axis).abs().mean() for axis in (-1, -2))


def train() -> None:
    """Train on the pairs that are there; saves every 100 iterations."""
    autoencoder = load_autoencoder()
    autoencoder.refinement = refinement = start_refinement()
    latents, pictures = load_pairs()
    latents = autoencoder.format.process_out(latents)
    optimiser = torch.optim.AdamW(refinement.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0)
    done, curve = 0, []
    if STATE.exists():
        state = torch.load(STATE, weights_only=True)
        refinement.load_state_dict(state["refinement"])
        optimiser.load_state_dict(state["optimiser"])
        done, curve = state["done"], state["curve"]
    bar = tqdm(range(done, ITERATIONS), initial=done, total=ITERATIONS, desc="decoder")
    for i in bar:
        error = loss_of(*draw_batch(i, autoencoder, latents[:-LAST_PAIRS], pictures[:-LAST_PAIRS]))
        learn(optimiser, error, RATE * min(1, (i + 1) / 100) * fall(i / ITERATIONS))
        if (i + 1) % 100 == 0 or i + 1 == ITERATIONS:
            with torch.inference_mode():
                curve.append(loss_of(autoencoder.decode(latents[-LAST_PAIRS:]), pictures[-LAST_PAIRS:]).item())
            bar.set_postfix(loss=f"{error.item():.4f}", unseen=f"{curve[-1]:.4f}")
            state = {"refinement": refinement.state_dict(), "optimiser": optimiser.state_dict()}
            save_state({**state, "done": i + 1, "curve": curve}, STATE)


def draw_batch(
    iteration: int, autoencoder: demo.DemoAutoencoder, latents: torch.Tensor, pictures: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What is decoded of random crops, and what it should be; iteration i is the same in every run."""
    rng = np.random.default_rng([iteration, 2])
    p = demo.PIXELS_PER_LATENT
    crops = []
    for number in rng.choice(len(latents), BATCH, replace=False):
        top, left = rng.integers(0, latents.shape[-1] - CROP + 1, 2)
        part = (slice(top, top + CROP), slice(left, left + CROP))
        pixels = tuple(slice(s.start * p, s.stop * p) for s in part)
        picture = pictures[(number, slice(None), *pixels)]
        own = rng.random() < OWN
        crops.append((autoencoder.encode(picture[None])[0] if own else latents[(number, slice(None), *part)], picture))
    crop_latents, crop_pictures = (torch.stack(part) for part in zip(*crops, strict=True))
    return autoencoder.decode(crop_latents), crop_pictures


def export() -> None:
    """Write the refinement in bfloat16, with what it was trained to as metadata."""
    state, path = torch.load(STATE, weights_only=True), demo.REFINEMENT_FILE
    training = {"iterations": state["done"], "loss": state["curve"], "pairs": PAIRS - LAST_PAIRS}
    metadata = {"format": "pt", "training": json.dumps(training), "license": "MIT (see demo/README.md)"}
    save_file({name: tensor.bfloat16() for name, tensor in state["refinement"].items()}, path, metadata)
    print(f"wrote {path.name}: {path.stat().st_size / 1e6:.1f} MB, {training}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=["draw", "train", "export"])
    parser.add_argument("--emoji", type=Path, default=ROOT / ".dev" / "emoji", help="folder of the emoji pictures")
    options = parser.parse_args()
    {"draw": lambda: draw(options.emoji), "train": train, "export": export}[options.task]()


if __name__ == "__main__":
    main()
