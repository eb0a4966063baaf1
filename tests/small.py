"""Small models of the host's own classes with random weights, and how the tests sample from them."""

from __future__ import annotations

from typing import Any

import comfy.controlnet
import comfy.model_base
import comfy.model_patcher
import comfy.sample
import comfy.supported_models
import torch

from devices import LOAD, OFFLOAD

WIDTH, CONTEXT, POOLED = 128, 48, 32
SD3_CONFIG: dict[str, Any] = {
    "in_channels": 16,
    "patch_size": 2,
    "depth": WIDTH // 64,
    "num_blocks": 3,
    "input_size": None,
    "adm_in_channels": POOLED,
    "context_embedder_config": {
        "target": "torch.nn.Linear",
        "params": {"in_features": CONTEXT, "out_features": WIDTH},
    },
    "qk_norm": "rms",
    "pos_embed_max_size": 24,
    "num_patches": 24**2,
}
# The architectures that the contract is tested on: SD3 medium, and SD3.5 medium with its second attention.
CONFIGS = {"sd3": SD3_CONFIG, "sd3.5": {**SD3_CONFIG, "x_block_self_attn_layers": [0, 1]}}


def small_model(
    name: str = "sd3", seed: int = 0, dtype: torch.dtype = torch.float32
) -> comfy.model_patcher.ModelPatcher:
    """A model of ``CONFIGS`` whose every weight matters."""
    config = comfy.supported_models.SD3(dict(CONFIGS[name]))
    config.set_inference_dtype(dtype, None)
    return randomised(comfy.model_base.SD3(config), seed)


def randomised(model: Any, seed: int, near_one: tuple[str, ...] = ("ln_",)) -> comfy.model_patcher.ModelPatcher:
    """Fill all weights from ``seed``, near one if ``near_one`` has a part of their name, and wrap for the host."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, tensor in [*model.diffusion_model.named_parameters(), *model.diffusion_model.named_buffers()]:
            noise = torch.randn(tensor.shape, generator=generator)
            scales = key.endswith(("weight", "scale")) and any(part in key for part in near_one)
            tensor.copy_(1 + 0.1 * noise if scales else 0.08 * noise)
    return comfy.model_patcher.ModelPatcher(model, load_device=LOAD, offload_device=OFFLOAD)


def conditioning(seed: int, tokens: int = 7, **extra: Any) -> list:
    """A prompt as the host's nodes pass it on."""
    generator = torch.Generator().manual_seed(seed)
    pooled = torch.randn(1, POOLED, generator=generator)
    return [[torch.randn(1, tokens, CONTEXT, generator=generator), {"pooled_output": pooled, **extra}]]


def noise_for(batch: int, height: int, width: int, seed: int = 1) -> torch.Tensor:
    """Starting noise, a different one for each picture of the batch."""
    return torch.stack(
        [torch.randn(16, height, width, generator=torch.Generator().manual_seed(seed + i)) for i in range(batch)]
    )


@torch.no_grad()  # as the host runs nodes; not all of its samplers see to it themselves
def sample(
    model: comfy.model_patcher.ModelPatcher,
    noise: torch.Tensor,
    steps: int = 10,
    cfg: float = 4.0,
    sampler: str = "euler",
    positive: list | None = None,
    negative: list | None = None,
    callback: Any = None,
) -> torch.Tensor:
    """The path of the host's KSampler node."""
    return comfy.sample.sample(
        model,
        noise,
        steps,
        cfg,
        sampler,
        "simple",
        positive or conditioning(1),
        negative or conditioning(2),
        torch.zeros_like(noise),
        callback=callback,
        disable_pbar=True,
        seed=1,
    )


class Residuals(comfy.controlnet.ControlBase):
    """A ControlNet without a network: one residual per block, the same for every picture."""

    def __init__(self, blocks: int, tokens: int):
        super().__init__()
        generator = torch.Generator().manual_seed(9)
        self.output = [0.5 * torch.randn(1, tokens, WIDTH, generator=generator) for _ in range(blocks)]
        self.output[1:2] = [None]

    def get_control(self, x: torch.Tensor, *_: Any) -> dict[str, list]:
        return {"output": [None if r is None else r.expand(len(x), -1, -1).clone().to(x.device) for r in self.output]}
