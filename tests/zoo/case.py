"""What a contract test needs to know of a family's small model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import comfy.sample
import comfy.supported_models_base
import torch

from small import randomised


@dataclass(frozen=True)
class Case:
    """One small model.

    Attributes:
        config: the host's class from ``comfy/supported_models.py``.
        unet: its ``unet_config``, small.
        channels: of the latent.
        context: width of a text token.
        sizes: (frames,) rows and columns of the latents to test with.
        patch: latent frames, rows and columns of an image token.
        pooled: width of the pooled text, None without.
        prompt: further entries of a conditioning.
        behind: rows behind the image tokens in attention, None for all others.
        serves: whether the n-th attention of a call is one over image tokens.
        blind: name of the host's attention function where it cannot be overridden.
        rotary: whether rotary embeddings are gathered.
        control: number of blocks by kind of residual that a ControlNet may give.
        near_one: parts of the names of weights that scale, drawn near one.
        model: arguments of the host's ``get_model``, a state dictionary that it looks into.
    """

    config: type[comfy.supported_models_base.BASE]
    unet: dict[str, Any]
    channels: int
    context: int
    sizes: dict[str, tuple[int, ...]] = field(default_factory=lambda: {"square": (16, 16), "wide": (12, 20)})
    patch: tuple[int, int, int] = (1, 2, 2)
    pooled: int | None = None
    prompt: dict[str, Any] = field(default_factory=dict)
    behind: int | None = 0
    serves: Callable[[int], bool] = lambda number: True
    blind: str | None = None
    rotary: bool = True
    control: dict[str, int] = field(default_factory=dict)
    near_one: tuple[str, ...] = ("norm", "ln_")
    model: dict[str, Any] = field(default_factory=dict)

    def build(self, seed: int = 0) -> Any:
        """The model in the host's patcher, on the CPU, float32."""
        config = self.config(dict(self.unet))
        config.set_inference_dtype(torch.float32, None)
        return randomised(config.get_model(self.model), seed, self.near_one)

    def noise(self, batch: int, size: tuple[int, ...]) -> torch.Tensor:
        """[B, C, (T,) H, W], a different one for each picture."""
        seeds = [torch.Generator().manual_seed(1 + i) for i in range(batch)]
        return torch.stack([torch.randn(self.channels, *size, generator=seed) for seed in seeds])

    def conditioning(self, seed: int, tokens: int = 7, **extra: Any) -> list:
        """A prompt as the host's nodes pass it on."""
        generator = torch.Generator().manual_seed(seed)
        text = torch.randn(1, tokens, self.context, generator=generator)
        pooled = {} if self.pooled is None else {"pooled_output": torch.randn(1, self.pooled, generator=generator)}
        return [[text, {**pooled, **self.prompt, **extra}]]

    def sample(self, model: Any, noise: torch.Tensor, steps: int = 10, sampler: str = "euler", **extra: Any):
        """The path of the host's KSampler node; ``extra`` entries go into both prompts, ``callback`` is the host's."""
        callback = extra.pop("callback", None)
        prompts = [self.conditioning(seed, **extra) for seed in (1, 2)]
        empty = torch.zeros_like(noise)
        arguments = (model, noise, steps, 4.0, sampler, "simple", *prompts, empty)
        return comfy.sample.sample(*arguments, callback=callback, disable_pbar=True, seed=1)
