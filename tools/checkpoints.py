"""Published checkpoints of every family: what the host detects of them, and a usual picture or video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Checkpoint:
    """A published model.

    Attributes:
        name: as people know it.
        config: name of its class in the host's ``comfy/supported_models.py``.
        unet: what ``comfy/model_detection.py`` finds in its file.
        size: (frames,) rows and columns of the latent.
        text: tokens of a prompt.
        picture: what the latent stands for.
    """

    name: str
    config: str
    unet: dict[str, Any]
    size: tuple[int, ...]
    text: int
    picture: str = "1024 x 1024"


def _sd3(width: int, depth: int, text: int = 4096, **more: Any) -> dict[str, Any]:
    embedder = {"target": "torch.nn.Linear", "params": {"in_features": text, "out_features": width}}
    shared = {"in_channels": 16, "patch_size": 2, "input_size": None, "adm_in_channels": 2048}
    return {**shared, "depth": depth, "context_embedder_config": embedder, **more}


_PIXART = {"hidden_size": 1152, "num_heads": 16, "depth": 28, "pe_interpolation": 2}
_FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "vec_in_dim": 768,
    "context_in_dim": 4096,
    "hidden_size": 3072,
    "mlp_ratio": 4.0,
    "num_heads": 24,
    "depth": 19,
    "depth_single_blocks": 38,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "qkv_bias": True,
    "guidance_embed": True,
}
_FLUX2 = {
    **_FLUX,
    "image_model": "flux2",
    "in_channels": 128,
    "out_channels": 128,
    "patch_size": 1,
    "vec_in_dim": None,
    "context_in_dim": 15360,
    "hidden_size": 6144,
    "mlp_ratio": 3.0,
    "num_heads": 48,
    "depth": 8,
    "depth_single_blocks": 48,
    "axes_dim": [32, 32, 32, 32],
    "theta": 2000,
    "qkv_bias": False,
    "global_modulation": True,
    "mlp_silu_act": True,
    "ops_bias": False,
}

CHECKPOINTS = (
    Checkpoint("SD3 medium", "SD3", _sd3(1536, 24, pos_embed_max_size=192, num_patches=192**2), (128, 128), 333),
    Checkpoint(
        "SD3.5 medium",
        "SD3",
        _sd3(
            1536,
            24,
            qk_norm="rms",
            x_block_self_attn_layers=list(range(13)),
            pos_embed_max_size=384,
            num_patches=384**2,
        ),
        (128, 128),
        333,
    ),
    Checkpoint(
        "SD3.5 large",
        "SD3",
        _sd3(2432, 38, qk_norm="rms", pos_embed_max_size=192, num_patches=192**2),
        (128, 128),
        333,
    ),
    Checkpoint(
        "PixArt-Sigma",
        "PixArtSigma",
        {"image_model": "pixart_sigma", **_PIXART, "micro_condition": False},
        (128, 128),
        300,
    ),
    Checkpoint("Flux.1 dev", "Flux", _FLUX, (128, 128), 512),
    Checkpoint("Flux.2 dev", "Flux2", _FLUX2, (64, 64), 512),
)
