"""The demo model as diffusers' SD3, so that cache-dit samples it in the host.

cache-dit (https://github.com/vipshop/cache-dit) computes a model's first blocks, and the others only if what the first
ones add has changed enough since they were last computed. Otherwise it adds what the others added then (DBCache) or a
forecast of it (TaylorSeer, arXiv 2503.06923).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import cache_dit
import torch
from diffusers import SD3Transformer2DModel

from bench.rivals import Adapter, CacheDiT
from cat_core.host.architecture.costs import linear_macs

# The host's layers, and diffusers' for the same; several where the host has them in one.
LAYERS = {
    "x_embedder.proj": "pos_embed.proj",
    "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
    "context_embedder": "context_embedder",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
    "final_layer.linear": "proj_out",
}
BLOCK_LAYERS = {
    "x_block.adaLN_modulation.1": "norm1.linear",
    "x_block.attn.qkv": "attn.to_q attn.to_k attn.to_v",
    "x_block.attn.ln_q": "attn.norm_q",
    "x_block.attn.ln_k": "attn.norm_k",
    "x_block.attn.proj": "attn.to_out.0",
    "x_block.mlp.fc1": "ff.net.0.proj",
    "x_block.mlp.fc2": "ff.net.2",
    "context_block.adaLN_modulation.1": "norm1_context.linear",
    "context_block.attn.qkv": "attn.add_q_proj attn.add_k_proj attn.add_v_proj",
    "context_block.attn.ln_q": "attn.norm_added_q",
    "context_block.attn.ln_k": "attn.norm_added_k",
    "context_block.attn.proj": "attn.to_add_out",
    "context_block.mlp.fc1": "ff_context.net.0.proj",
    "context_block.mlp.fc2": "ff_context.net.2",
}


def convert(transformer: Any) -> SD3Transformer2DModel:
    """The host's SD3 ``transformer`` as diffusers' model, for latents of any size: the same outputs but for rounding.

    Raises:
        KeyError, RuntimeError: it has layers that diffusers' SD3 has not, or others.
    """
    width, blocks = transformer.hidden_size, len(transformer.joint_blocks)
    model = SD3Transformer2DModel(
        in_channels=transformer.in_channels,
        out_channels=transformer.out_channels,
        patch_size=transformer.patch_size,
        num_layers=blocks,
        attention_head_dim=width // transformer.num_heads,
        num_attention_heads=transformer.num_heads,
        joint_attention_dim=transformer.context_embedder.in_features,
        caption_projection_dim=width,
        pooled_projection_dim=transformer.y_embedder.mlp[0].in_features,
        pos_embed_max_size=transformer.pos_embed_max_size,
        qk_norm="rms_norm",
    )
    weights = {"pos_embed.pos_embed": model.pos_embed.pos_embed}
    for name, tensor in transformer.state_dict().items():
        weights |= _rename(name, tensor, blocks - 1)
    model.load_state_dict(weights, assign=True)  # they share their memory, type and device
    # diffusers' table has a place for every token of the largest picture; the host spreads the same range over any size
    model.pos_embed.cropped_pos_embed = lambda *size: transformer.cropped_pos_embed(size, device=model.device)
    return model.eval()


def _rename(name: str, tensor: torch.Tensor, last: int) -> dict[str, torch.Tensor]:
    """A tensor of the host's as tensors of diffusers'; ``last`` is the number of the last block."""
    layer, _, kind = name.rpartition(".")
    start, table = "", LAYERS
    if layer.startswith("joint_blocks."):
        _, number, layer = layer.split(".", 2)
        start, table = f"transformer_blocks.{number}.", BLOCK_LAYERS
    names = [start + part for part in table[layer].split()]
    parts = tensor.chunk(len(names))
    if names[0] in ("norm_out.linear", f"transformer_blocks.{last}.norm1_context.linear"):
        # where nothing follows that has a gate, diffusers has the scale in front of the shift
        parts = (torch.cat(tensor.chunk(2)[::-1]),)
    return {f"{part}.{kind}": tensor for part, tensor in zip(names, parts, strict=True)}


class CachedTransformer(Adapter):
    """The transformer as diffusers' model with cache-dit, for one run: a fresh one knows nothing of an earlier run.

    Args:
        transformer: the host's.
        settings: cache-dit's.
        steps: of the run.
    """

    def __init__(self, transformer: Any, settings: CacheDiT, steps: int):
        super().__init__(transformer)
        self.block_macs = [partial(count_block, block, transformer.hidden_size) for block in transformer.joint_blocks]
        self.model = convert(transformer)
        self.left_out: set[int] = set()
        for number, block in enumerate(self.model.transformer_blocks):
            block.register_forward_hook(lambda *_, number=number: self.left_out.discard(number))
        enable(self.model, settings, steps)

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context=None, y=None, **kwargs: Any) -> torch.Tensor:
        """``x`` [B, C, H, W] and ``context`` [B, text tokens, width], as the host's model calls its transformer.

        Raises:
            RuntimeError: the conditionings come in calls of their own; cache-dit takes every call for a step.
        """
        if len(kwargs["transformer_options"]["cond_or_uncond"]) != 2:
            raise RuntimeError("Both conditionings have to be in one call; is there too little memory for that?")
        self.left_out = set(range(len(self.block_macs)))
        output = self.model(x, context, y, timesteps, return_dict=False)[0]
        spared = sum(self.block_macs[number](self.cost.tokens(x), context.shape[1]) for number in self.left_out)
        self.macs += self.cost.count(x, context) - len(x) * spared
        return output


def count_block(block: Any, width: int, tokens: int, text: int) -> int:
    """MACs of a joint ``block`` of the host's for one sample: its layers, its modulation and its attention."""
    halves = (block.x_block, tokens), (block.context_block, text)
    layers = 0
    for half, rows in halves:
        modulation = linear_macs(half.adaLN_modulation)
        layers += (linear_macs(half) - modulation) * rows + modulation
    return layers + 2 * (tokens + text) ** 2 * width


def enable(model: SD3Transformer2DModel, settings: CacheDiT, steps: int) -> None:
    """Let cache-dit decide what of ``model`` is computed in a run of ``steps`` steps."""
    mask = cache_dit.steps_mask(total_steps=steps, mask_policy=settings.mask) if settings.mask else None
    calibrator = None
    if settings.order:
        # SD3's last block has no text to forecast, which cache-dit does not survive
        calibrator = cache_dit.TaylorSeerCalibratorConfig(
            taylorseer_order=settings.order, enable_encoder_calibrator=False
        )
    cache_dit.enable_cache(
        cache_dit.BlockAdapter(
            transformer=model,
            blocks=model.transformer_blocks,
            forward_pattern=cache_dit.ForwardPattern.Pattern_1,  # as cache-dit's own adapter for SD3
        ),
        cache_config=cache_dit.DBCacheConfig(
            Fn_compute_blocks=settings.first,
            Bn_compute_blocks=0,
            residual_diff_threshold=settings.threshold,
            max_warmup_steps=settings.warmup,
            max_continuous_cached_steps=settings.gap,
            enable_separate_cfg=False,
            num_inference_steps=steps,
            steps_computation_mask=mask,
        ),
        calibrator_config=calibrator,
    )
