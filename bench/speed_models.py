"""Models for the speed benchmarks: published widths with random weights, whole or a few blocks, and the demo model."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.supported_models
import torch
from comfy.ldm.modules.attention import get_attention_function
from comfy.model_patcher import ModelPatcher
from comfy_extras.nodes_torch_compile import TorchCompileModel

from cat_core.host.attention import OVERRIDE
from cat_core.host.demo import load_demo
from tools.checkpoints import CHECKPOINTS, Checkpoint

DEMO = "demo model"
# how the host's configurations name their depth, and the (double, single) blocks of Flux
BLOCKS = {
    "SD3 medium": lambda count: {"num_blocks": count},
    "PixArt-Sigma": lambda count: {"depth": count},
    "Flux.1 dev": lambda count: {"depth": count // 2, "depth_single_blocks": count // 2},
}
TEXT_WIDTHS = {"qwen_image": 3584}
"""Of text tokens where a configuration does not say and it is not T5's."""
T5 = 4096


@dataclass(frozen=True)
class Setup:
    """What is sampled.

    Attributes:
        name: of a checkpoint in ``tools/checkpoints.py``, or :data:`DEMO`.
        blocks: of the transformer, 0 for all; all of the demo model's whatever is said.
        size: (frames,) rows and columns of the latent, empty for the checkpoint's own.
        batch: pictures.
        text: tokens of a prompt, 0 for the checkpoint's own; sixteen of the demo model's whatever is said.
        cfg: guidance scale; 1 evaluates one conditioning, others two.
        dtype: of weights: float32, bfloat16, or float8_e4m3fn, which is multiplied as bfloat16; the demo model's own.
        override: whether attention is overridden as another node does it, by SageAttention where that is installed.
        compiled: whether the host's node compiles the model.
    """

    name: str = "SD3 medium"
    blocks: int = 0
    size: tuple[int, ...] = ()
    text: int = 0
    batch: int = 1
    cfg: float = 1.0
    dtype: str = "float32"
    override: bool = False
    compiled: bool = False

    @property
    def checkpoint(self) -> Checkpoint:
        """The published one."""
        return next(each for each in CHECKPOINTS if each.name == self.name)

    @property
    def shape(self) -> tuple[int, ...]:
        """[B, C, (T,) H, W] of the latent."""
        channels = self.model.model.latent_format.latent_channels
        return self.batch, channels, *(self.size or self.checkpoint.size)

    @property
    def model(self) -> ModelPatcher:
        """In the host's patcher, the same one as long as no other is asked for."""
        return _patched(self)

    def sample(self, model: ModelPatcher, steps: int) -> torch.Tensor:
        """The path of the host's KSampler node, with euler."""
        noise = torch.randn(self.shape, generator=torch.Generator().manual_seed(1))
        prompts = [self.prompt(seed) for seed in (1, 2)]
        arguments = (model, noise, steps, self.cfg, "euler", "simple", *prompts, torch.zeros_like(noise))
        return comfy.sample.sample(*arguments, disable_pbar=True, seed=1)

    def prompt(self, seed: int) -> list:
        """Drawn from a seed."""
        tokens = 16 if self.name == DEMO else self.text or self.checkpoint.text
        return draw_prompt(self.model.model.model_config.unet_config, tokens, seed)


def draw_prompt(config: dict[str, Any], tokens: int, seed: int) -> list:
    """As the host's nodes pass it on, for a transformer's configuration."""
    draw = torch.Generator().manual_seed(seed)
    text = torch.randn(1, tokens, text_width(config), generator=draw)
    pooled = torch.randn(1, config.get("vec_in_dim") or config.get("adm_in_channels") or 1, generator=draw)
    # others can do without it, and their text encoders leave it out where nothing is padded
    mask = {"attention_mask": torch.ones(1, tokens)} if config.get("image_model") == "ltxv" else {}
    return [[text, {"pooled_output": pooled, **mask}]]


def text_width(config: dict[str, Any]) -> int:
    """Of a text token, by a transformer's configuration."""
    embedder = config.get("context_embedder_config", {}).get("params", {})
    said = embedder.get("in_features") or config.get("context_in_dim") or config.get("cap_feat_dim")
    return said or TEXT_WIDTHS.get(config.get("image_model", ""), T5)


def configure(setup: Setup) -> Any:
    """The host's configuration of a published model."""
    checkpoint = setup.checkpoint
    blocks = BLOCKS[setup.name](setup.blocks) if setup.blocks else {}
    config = getattr(comfy.supported_models, checkpoint.config)({**checkpoint.unet, **blocks})
    dtype = getattr(torch, setup.dtype)
    # every CPU is quick at float32, which does not hold for bfloat16
    config.set_inference_dtype(dtype, torch.bfloat16 if dtype.itemsize == 1 else None)
    return config


def forget_models() -> None:
    """Give back the memory that they take."""
    _patched.cache_clear()
    _weights.cache_clear()
    gc.collect()
    comfy.model_management.unload_all_models()
    comfy.model_management.soft_empty_cache()
    torch.compiler.reset()


@lru_cache(maxsize=1)
def _patched(setup: Setup) -> ModelPatcher:
    model = _weights(setup.name, setup.blocks, setup.dtype)
    if setup.override:
        model = model.clone()
        model.model_options["transformer_options"][OVERRIDE] = _attend
    return TorchCompileModel.execute(model, "inductor")[0] if setup.compiled else model


def _attend(func: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
    """As nodes override attention: by a function of their own, or where it is missing by the host's."""
    return get_attention_function("sage", func)(*args, **kwargs)


@lru_cache(maxsize=1)
def _weights(name: str, blocks: int, dtype: str) -> ModelPatcher:
    if name == DEMO:
        return load_demo(refined=False)[0]
    model = configure(Setup(name, blocks, dtype=dtype)).get_model({})
    # drawn where that is quick; from there on it is the host who moves them
    device = comfy.model_management.get_torch_device()
    draw = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for tensor in [*model.diffusion_model.parameters(), *model.diffusion_model.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(0.02 * torch.randn(tensor.shape, generator=draw, device=device))
    return ModelPatcher(model, load_device=device, offload_device=torch.device("cpu"))
