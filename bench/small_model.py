"""A small model of the host's SD3 class with random weights: it shows what the engine does, not how pictures look."""

from __future__ import annotations

import comfy.model_base
import comfy.sample
import comfy.supported_models
import torch
from comfy.model_patcher import ModelPatcher

WIDTH, TEXT, POOLED, SIDE = 128, 48, 32, 24
CONFIG = {
    "in_channels": 16,
    "patch_size": 2,
    "depth": WIDTH // 64,
    "num_blocks": 2,
    "input_size": None,
    "adm_in_channels": POOLED,
    "context_embedder_config": {
        "target": "torch.nn.Linear",
        "params": {"in_features": TEXT, "out_features": WIDTH},
    },
    "qk_norm": "rms",
    "pos_embed_max_size": SIDE,
    "num_patches": SIDE**2,
}


def small_model() -> ModelPatcher:
    """In the host's patcher, float32 on the CPU, always with the same weights."""
    config = comfy.supported_models.SD3(dict(CONFIG))
    config.set_inference_dtype(torch.float32, None)
    model, draw = comfy.model_base.SD3(config), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in [*model.diffusion_model.parameters(), *model.diffusion_model.buffers()]:
            tensor.copy_(0.08 * torch.randn(tensor.shape, generator=draw))
    return ModelPatcher(model, load_device=torch.device("cpu"), offload_device=torch.device("cpu"))


def sample(model: ModelPatcher, sampler: str, steps: int, cfg: float = 4.0) -> torch.Tensor:
    """A latent by the path of the host's KSampler node, with two conditionings, one of which counts at ``cfg`` 1."""
    noise = torch.randn(1, 16, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    prompts = [_prompt(seed) for seed in (2, 3)]
    arguments = (model, noise, steps, cfg, sampler, "simple", *prompts, torch.zeros_like(noise))
    return comfy.sample.sample(*arguments, disable_pbar=True, seed=1)


def _prompt(seed: int) -> list:
    draw = torch.Generator().manual_seed(seed)
    return [[torch.randn(1, 7, TEXT, generator=draw), {"pooled_output": torch.randn(1, POOLED, generator=draw)}]]
