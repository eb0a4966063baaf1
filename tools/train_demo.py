"""Train the demo model from scratch: ``make train`` (resumes where it stopped, about two hours).

Rectified flow (arXiv 2403.03206): x_t = (1 - t) x + t noise, the model predicts noise - x. Two stages: pictures at half
resolution (256 tokens), then at full resolution (1024 tokens). Progress, the optimiser and the averaged weights are
saved to ``.dev/train``; the shipped file is written to ``demo/`` by ``--export``.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tqdm import tqdm

from tools.host import ROOT, import_host, restart_with_allocator

restart_with_allocator()
import_host()
import comfy.ops  # noqa: E402
from comfy.ldm.modules.diffusionmodules.mmdit import OpenAISignatureMMDITWrapper  # noqa: E402

from cat_core.host import demo  # noqa: E402
from cat_core.similarity import psnr  # noqa: E402
from tools.demo_data import EmojiScenes, fetch_pictures, random_scene, vocabulary  # noqa: E402
from tools.training import fall, save_state  # noqa: E402

STATE = ROOT / ".dev" / "train"
TOKENS_PER_STEP = 8192
CAPTION_DROPOUT = 0.1
EMA = 0.999
STAGES = {"half": (128, 4100), "full": (256, 2450)}  # picture size, iterations
TIME_SHIFT = 3  # as the host samples


class DemoNetwork(torch.nn.Module):
    """Transformer and text encoder, trained together.

    Args:
        transformer: arguments of the host's MMDiT.
        words: that prompts are of.
    """

    def __init__(self, transformer: dict[str, Any], words: list[str]):
        super().__init__()
        operations = comfy.ops.disable_weight_init
        self.model = OpenAISignatureMMDITWrapper(**transformer, operations=operations, dtype=torch.float32)
        self.text = demo.DemoTextEncoder(len(words))
        self._initialise()

    def _initialise(self) -> None:
        """Xavier for linear layers, zero for modulation and output (adaLN-zero), one for the q/k norms."""
        for module in self.model.modules():
            if isinstance(module, torch.nn.Linear):
                torch.nn.init.xavier_uniform_(module.weight)
            elif isinstance(module, torch.nn.Conv2d):
                torch.nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d) and module.bias is not None:
                torch.nn.init.zeros_(module.bias)
        for name, parameter in self.model.named_parameters():
            if "ln_q" in name or "ln_k" in name:
                torch.nn.init.ones_(parameter)
            if "adaLN_modulation" in name or name.startswith("final_layer.linear"):
                torch.nn.init.zeros_(parameter)
        torch.nn.init.normal_(self.text.word.weight, std=0.5)
        torch.nn.init.normal_(self.text.position, std=0.2)

    def forward(self, latent: torch.Tensor, noise: torch.Tensor, t: torch.Tensor, numbers: torch.Tensor):
        """Mean squared error of the predicted velocity."""
        context, pooled = self.text(numbers)
        mix = t.view(-1, 1, 1, 1)
        predicted = self.model((1 - mix) * latent + mix * noise, t * 1000, context=context, y=pooled)
        return ((predicted.float() - (noise - latent)) ** 2).mean()


class Batches:
    """Seeded batches, drawn ahead on a thread: iteration i is the same in every run."""

    def __init__(self, scenes: EmojiScenes, autoencoder: demo.DemoAutoencoder):
        self.scenes, self.autoencoder = scenes, autoencoder
        self.tokenizer = demo.DemoTokenizer(vocabulary())
        self.pool = ThreadPoolExecutor(1)
        self.ahead: dict[tuple[int, int], Future] = {}

    def get(self, iteration: int, size: int) -> tuple[torch.Tensor, ...]:
        future = self.ahead.pop((iteration, size), None) or self.pool.submit(self._draw, iteration, size)
        self.ahead = {(iteration + 1, size): self.pool.submit(self._draw, iteration + 1, size)}
        return future.result()

    @torch.no_grad()
    def _draw(self, iteration: int, size: int) -> tuple[torch.Tensor, ...]:
        rng = np.random.default_rng([iteration, size])
        count = TOKENS_PER_STEP // (size // 8) ** 2
        scenes = [random_scene(rng) for _ in range(count)]
        pixels = to_pixels(np.stack([self.scenes.draw(scene, rng) for scene in scenes]))
        if size < pixels.shape[-1]:
            pixels = torch.nn.functional.interpolate(pixels, size=size, mode="area")
        captions = ["" if rng.random() < CAPTION_DROPOUT else scene.caption for scene in scenes]
        numbers = torch.tensor([self.tokenizer.encode(caption) for caption in captions])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        latent = self.autoencoder.format.process_in(self.autoencoder.encode(pixels))
        noise = torch.randn(latent.shape, generator=generator)
        return latent, noise, sample_times(count, generator), numbers


def sample_times(count: int, generator: torch.Generator) -> torch.Tensor:
    """Logit-normal times shifted towards noise, stratified over the batch."""
    strata = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    t = torch.sigmoid(torch.special.ndtri(strata.clamp(1e-4, 1 - 1e-4)))
    return (TIME_SHIFT * t / (1 + (TIME_SHIFT - 1) * t))[torch.randperm(count, generator=generator)]


def to_pixels(pictures: np.ndarray) -> torch.Tensor:
    """[B, H, W, 3] in 0..255 -> [B, 3, H, W] in -1..1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2) / 127.5 - 1


@torch.no_grad()
def fit_autoencoder(
    scenes: Any, random_scene: Callable[[np.random.Generator], Any] = random_scene, pictures: int = 400
) -> demo.DemoAutoencoder:
    """Principal components of the 4x4 patches of some pictures, half whitened; ``scenes`` draws the random ones.

    A component spreads by the square root of what it would: details are weaker than shapes and drown earlier in noise.
    """
    rng = np.random.default_rng(0)
    pixels = to_pixels(np.stack([scenes.draw(random_scene(rng), rng) for _ in range(pictures)]))
    p = demo.PIXELS_PER_LATENT
    patches = demo.rearrange(pixels, "b c (h p) (w q) -> (b h w) (c p q)", p=p, q=p).double()
    mean = patches.mean(0)
    values, vectors = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    values, vectors = values.flip(0)[: demo.LATENT_CHANNELS], vectors.flip(1)[:, : demo.LATENT_CHANNELS]
    autoencoder = demo.DemoAutoencoder()
    autoencoder.mean.copy_(mean)
    scale = (values * values[0]) ** 0.25
    autoencoder.to_latent.copy_(vectors / scale)
    autoencoder.to_pixels.copy_((vectors * scale).T)
    again = autoencoder.decode(autoencoder.encode(pixels))
    print(f"autoencoder: {psnr(again / 2, pixels / 2):.1f} dB, {values.sum() / patches.var(0).sum():.2%} of variance")
    return autoencoder


class Trainer:
    """Network, average, optimiser and position in the schedule, saved together."""

    def __init__(self, rate: float):
        torch.manual_seed(0)
        self.network = DemoNetwork(demo.TRANSFORMER, vocabulary())
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.01)
        self.rate = rate
        self.done = dict.fromkeys(STAGES, 0)
        self.loss: dict[str, float] = {}
        self.compiled = torch.compile(self.network, dynamic=False)

    def save(self) -> None:
        STATE.mkdir(parents=True, exist_ok=True)
        state = {name: getattr(self, name).state_dict() for name in ("network", "average", "optimiser")}
        save_state({**state, "done": self.done, "loss": self.loss}, STATE / "state.pt")

    def resume(self) -> None:
        if not (STATE / "state.pt").exists():
            return
        state = torch.load(STATE / "state.pt", weights_only=True)
        for name in ("network", "average", "optimiser"):
            getattr(self, name).load_state_dict(state[name])
        self.done.update(state["done"])
        self.loss = state["loss"]

    def step(self, batch: tuple[torch.Tensor, ...], rate: float) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16):
            loss = self.compiled(*batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.no_grad():
            iterations = sum(self.done.values())
            averaged: list[torch.Tensor] = list(self.average.parameters())
            current: list[torch.Tensor] = list(self.network.parameters())
            torch._foreach_lerp_(averaged, current, 1 - min(EMA, (1 + iterations) / (10 + iterations)))
        return loss.item()

    def run(self, stage: str, batches: Batches, save_every: int = 250) -> None:
        size, iterations = STAGES[stage]
        bar = tqdm(range(self.done[stage], iterations), initial=self.done[stage], total=iterations, desc=stage)
        for i in bar:
            loss = self.step(batches.get(i, size), self.rate * rate_factor(stage, i / iterations, i))
            self.loss[stage] = loss if stage not in self.loss else 0.99 * self.loss[stage] + 0.01 * loss
            bar.set_postfix(loss=f"{self.loss[stage]:.4f}")
            self.done[stage] = i + 1
            if (i + 1) % save_every == 0 or i + 1 == iterations:
                self.save()


def rate_factor(stage: str, progress: float, iteration: int) -> float:
    """Warm-up over 200 iterations, then constant; the last stage falls along a cosine in its second half."""
    warm = min(1.0, (iteration + 1) / 200)
    if stage != "full" or progress < 0.5:
        return warm
    return warm * fall((progress - 0.5) / 0.5)


@torch.no_grad()
def export(trainer: Trainer, autoencoder: demo.DemoAutoencoder, path: Path) -> None:
    """Write the averaged weights as bf16, with vocabulary, training facts and licence as metadata."""
    tensors = {name: tensor.bfloat16() for name, tensor in trainer.average.state_dict().items()}
    tensors |= {f"vae.{name}": tensor.float() for name, tensor in autoencoder.state_dict().items()}
    metadata = {
        "vocabulary": json.dumps(vocabulary()),
        "architecture": json.dumps(demo.TRANSFORMER),
        "training": json.dumps({"iterations": trainer.done, "loss": trainer.loss, "data": "fluent-emoji-3d 1.1.0"}),
        "license": "MIT (trained on Fluent Emoji, MIT, (c) Microsoft Corporation)",
        "format": "pt",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)
    print(f"wrote {path.name}: {path.stat().st_size / 1e6:.1f} MB, iterations {trainer.done}, loss {trainer.loss}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--emoji", type=Path, default=ROOT / ".dev" / "emoji", help="folder of the emoji pictures")
    parser.add_argument("--rate", type=float, default=1e-3, help="AdamW learning rate")
    parser.add_argument("--export", type=Path, nargs="?", const=demo.DEMO_FILE, help="write the model file and stop")
    options = parser.parse_args()
    fetch_pictures(options.emoji)
    scenes = EmojiScenes(options.emoji)
    autoencoder = fit_autoencoder(scenes)
    trainer = Trainer(options.rate)
    trainer.resume()
    if options.export:
        export(trainer, autoencoder, options.export)
        return
    batches = Batches(scenes, autoencoder)
    for stage in STAGES:
        trainer.run(stage, batches)


if __name__ == "__main__":
    main()
