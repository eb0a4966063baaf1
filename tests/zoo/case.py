"""What a contract test needs to know of a family's small model."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import comfy.controlnet
import comfy.sample
import comfy.supported_models_base
import torch
from comfy.nested_tensor import NestedTensor
from comfy.utils import pack_latents, unpack_latents

from small import randomised


@dataclass(frozen=True)
class Case:
    """One small model.

    Attributes:
        config: the host's class from ``comfy/supported_models.py``.
        unet: its ``unet_config``, small, see :func:`known`.
        channels: of the latent.
        context: width of a text token.
        sizes: (frames,) rows and columns of the latents to test with.
        patch: latent frames, rows and columns of an image token.
        pooled: width of the pooled text, None without.
        prompt: further entries of a conditioning.
        behind: rows behind the image tokens in attention, None for all others.
        serves: whether the n-th attention of a call is one over image tokens.
        sharing: heads that have keys and values in common, which newer hosts do not repeat for each.
        blind: name of the host's attention function where it cannot be overridden.
        rotary: whether rotary embeddings are gathered.
        control: (blocks, width) by kind of residual that a ControlNet may give.
        short_control: whether a residual may be for the first tokens only.
        references: whether reference latents may stand behind the image.
        uncounted: names of modules that the cost formula leaves out.
        inexact: by how much it may be off, relatively; attention in refiners of text is not in it.
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
    sharing: int = 1
    blind: str | None = None
    rotary: bool = True
    control: dict[str, tuple[int, int]] = field(default_factory=dict)
    short_control: bool = True
    references: bool = False
    uncounted: tuple[str, ...] = ()
    inexact: float = 0.002
    near_one: tuple[str, ...] = ("norm", "ln_")
    model: dict[str, Any] = field(default_factory=dict)

    @torch.no_grad()  # as the host loads models
    def build(self, seed: int = 0) -> Any:
        """The model in the host's patcher, float32."""
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

    def tokens(self, size: tuple[int, ...]) -> int:
        """How many image tokens a latent of this size has."""
        volume = size if len(size) == 3 else (1, *size)
        return math.prod(-(-side // patch) for side, patch in zip(volume, self.patch, strict=True))

    def split(self, latent: torch.Tensor, size: tuple[int, ...]) -> list[torch.Tensor]:
        """What was sampled at a size, by what it is made of."""
        return [latent]

    def residuals(self, size: tuple[int, ...]) -> dict[str, Any]:
        """Entries of a conditioning with a ControlNet that has no network: residuals for latents of this size."""
        control = Residuals(self.control, self.tokens(size))
        return {"control": control, "control_apply_to_uncond": True}

    @torch.no_grad()  # as the host runs nodes; not all of its samplers see to it themselves
    def sample(self, model: Any, noise: torch.Tensor, steps: int = 10, sampler: str = "euler", **extra: Any):
        """The path of the host's KSampler node; ``extra`` goes into both prompts, but for arguments of the host."""
        given = {name: extra.pop(name, None) for name in ("callback", "noise_mask")}
        prompts = [self.conditioning(seed, **extra) for seed in (1, 2)]
        empty = noise * 0
        arguments = (model, noise, steps, 4.0, sampler, "simple", *prompts, empty)
        return comfy.sample.sample(*arguments, **given, disable_pbar=True, seed=1)


@dataclass(frozen=True)
class Joined(Case):
    """A model whose latent is made of several, say a video and its sound; a size is a shape for each of them.

    The first has the tokens. What is sampled is packed, as the host packs it.
    """

    def noise(self, batch: int, size: tuple[tuple[int, ...], ...]) -> NestedTensor:
        """Of [B, C, ...] each, a different one for each picture."""
        return NestedTensor([torch.randn(batch, *shape, generator=torch.Generator().manual_seed(1)) for shape in size])

    def tokens(self, size: tuple[tuple[int, ...], ...]) -> int:
        return super().tokens(size[0][1:])

    def sample(self, model: Any, noise: NestedTensor, *args: Any, callback: Any = None, **extra: Any) -> torch.Tensor:
        seen = callback and (lambda step, *latents_and_total: callback(step, *map(pack, latents_and_total)))
        return pack(super().sample(model, noise, *args, callback=seen, **extra))

    def split(self, latent: torch.Tensor, size: tuple[tuple[int, ...], ...]) -> list[torch.Tensor]:
        return unpack_latents(latent, [(len(latent), *shape) for shape in size])


def pack(latent: Any) -> Any:
    """A nested latent as the host packs it; all else as it is."""
    return pack_latents(latent.unbind())[0] if isinstance(latent, NestedTensor) else latent


NEWER = {
    *("txt_ids_dims", "vec_in_dim", "meanflow_sum"),
    *("encoder_hidden_size", "encoder_intermediate_size", "encoder_num_heads"),
    *("use_x0", "use_sequential_txt_ids"),
}


def list_known(parameters: type, values: dict[str, Any]) -> dict[str, Any]:
    """A model's configuration without those of ``NEWER`` that this host's class does not know."""
    names = inspect.signature(parameters).parameters
    return {name: value for name, value in values.items() if name in names or name not in NEWER}


def knows(parameters: type, values: dict[str, Any]) -> bool:
    """Whether this host's class takes all of these."""
    return set(values) <= set(inspect.signature(parameters).parameters)


def resizable(config: type) -> type:
    """A class of the host whose sizes no configuration changes, without them."""
    return type(f"Small{config.__name__}", (config,), {"unet_extra_config": {}})


class Residuals(comfy.controlnet.ControlBase):
    """A ControlNet without a network: the same residuals for every picture, none for the second block."""

    def __init__(self, kinds: dict[str, tuple[int, int]], tokens: int):
        super().__init__()
        draw = torch.Generator().manual_seed(9)
        self.kinds = {
            kind: [0.5 * torch.randn(1, tokens, width, generator=draw) if i != 1 else None for i in range(blocks)]
            for kind, (blocks, width) in kinds.items()
        }

    def get_control(self, x: torch.Tensor, *_: Any) -> dict[str, list]:
        return {
            kind: [None if part is None else part.expand(len(x), -1, -1).clone().to(x.device) for part in parts]
            for kind, parts in self.kinds.items()
        }
