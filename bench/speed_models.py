"""Models for the speed benchmark: published widths with random float32 weights and few blocks, and the demo model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.sample
import comfy.supported_models
import torch

from cat_core.host.demo import load_demo
from tools.checkpoints import CHECKPOINTS

DEMO = "demo model"
# how the host's configurations name their depth, and the (double, single) blocks of Flux
BLOCKS = {
    "SD3 medium": lambda count: {"num_blocks": count},
    "PixArt-Sigma": lambda count: {"depth": count},
    "Flux.1 dev": lambda count: {"depth": count // 2, "depth_single_blocks": count // 2},
}


@dataclass(frozen=True)
class Setup:
    """What is sampled.

    Attributes:
        name: of a checkpoint in ``tools/checkpoints.py``, or :data:`DEMO`.
        blocks: of the transformer, all of the demo model's whatever is said.
        side: of the latent; tokens are (side / 2) squared.
        text: tokens of a prompt, sixteen of the demo model's whatever is said.
        batch: pictures.
        cfg: guidance scale; 1 evaluates one conditioning, others two.
    """

    name: str = "SD3 medium"
    blocks: int = 4
    side: int = 128
    text: int = 333
    batch: int = 1
    cfg: float = 1.0

    @property
    def title(self) -> str:
        """For tables."""
        if self.name == DEMO:
            return f"{DEMO}, {self.side * 4} x {self.side * 4}"
        return f"{self.name}, {self.blocks} blocks, {self.side * 8} x {self.side * 8}, {self.text} text tokens"

    @cached_property
    def model(self) -> comfy.model_patcher.ModelPatcher:
        """In the host's patcher."""
        return load_demo(refined=False)[0] if self.name == DEMO else _wide(self.name, self.blocks)

    def sample(self, model: comfy.model_patcher.ModelPatcher, steps: int) -> torch.Tensor:
        """The path of the host's KSampler node, with euler."""
        channels = self.model.model.latent_format.latent_channels
        noise = torch.randn(self.batch, channels, self.side, self.side, generator=torch.Generator().manual_seed(1))
        prompts = [self._prompt(seed) for seed in (1, 2)]
        arguments = (model, noise, steps, self.cfg, "euler", "simple", *prompts, torch.zeros_like(noise))
        return comfy.sample.sample(*arguments, disable_pbar=True, seed=1)

    def _prompt(self, seed: int) -> list:
        draw = torch.Generator().manual_seed(seed)
        config = self.model.model.model_config.unet_config
        if self.name == DEMO:
            shapes = (1, 16, config["context_embedder_config"]["params"]["in_features"]), (1, config["adm_in_channels"])
        else:
            shapes = (1, self.text, 4096), (1, config.get("vec_in_dim") or config.get("adm_in_channels") or 1)
        text, pooled = (torch.randn(shape, generator=draw) for shape in shapes)
        return [[text, {"pooled_output": pooled}]]


def _wide(name: str, blocks: int) -> comfy.model_patcher.ModelPatcher:
    checkpoint = next(each for each in CHECKPOINTS if each.name == name)
    kind: Any = getattr(comfy.supported_models, checkpoint.config)
    config = kind({**checkpoint.unet, **BLOCKS[name](blocks)})
    # every CPU is quick at it, which does not hold for bfloat16
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({})
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in [*model.diffusion_model.parameters(), *model.diffusion_model.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(0.02 * torch.randn(tensor.shape, generator=draw))
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=torch.device("cpu"))
