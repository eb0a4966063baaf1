"""Published checkpoints of every family: what the host detects of them, and a usual picture or video."""

from __future__ import annotations

from dataclasses import dataclass, field
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
        extra: shapes of further arguments of a model call.
    """

    name: str
    config: str
    unet: dict[str, Any]
    size: tuple[int, ...]
    text: int
    picture: str = "1024 x 1024"
    extra: dict[str, tuple[int, ...]] = field(default_factory=dict)


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
_LUMINA = {
    "image_model": "lumina2",
    "patch_size": 2,
    "in_channels": 16,
    "dim": 2304,
    "cap_feat_dim": 2304,
    "n_layers": 26,
    "qk_norm": True,
    "n_heads": 24,
    "n_kv_heads": 8,
    "axes_dims": [32, 32, 32],
    "axes_lens": [300, 512, 512],
    "rope_theta": 10000.0,
    "ffn_dim_multiplier": 4.0,
}
_Z_IMAGE = {
    **_LUMINA,
    "dim": 3840,
    "cap_feat_dim": 2560,
    "n_layers": 30,
    "n_heads": 30,
    "n_kv_heads": 30,
    "axes_dims": [32, 48, 48],
    "axes_lens": [1536, 512, 512],
    "rope_theta": 256.0,
    "ffn_dim_multiplier": 8 / 3,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "pad_tokens_multiple": 32,
}
_HIDREAM = {
    "image_model": "hidream",
    "attention_head_dim": 128,
    "axes_dims_rope": [64, 32, 32],
    "caption_channels": [4096, 4096],
    "max_resolution": [128, 128],
    "in_channels": 16,
    "llama_layers": [*range(32), *[31] * 16],
    "num_attention_heads": 20,
    "num_routed_experts": 4,
    "num_activated_experts": 2,
    "num_layers": 16,
    "num_single_layers": 32,
    "out_channels": 16,
    "patch_size": 2,
    "text_emb_dim": 2048,
}
_OMNIGEN2 = {
    "image_model": "omnigen2",
    "axes_dim_rope": [40, 40, 40],
    "axes_lens": [1024, 1664, 1664],
    "ffn_dim_multiplier": None,
    "hidden_size": 2520,
    "in_channels": 16,
    "multiple_of": 256,
    "norm_eps": 1e-05,
    "num_attention_heads": 21,
    "num_kv_heads": 7,
    "num_layers": 32,
    "num_refiner_layers": 2,
    "out_channels": None,
    "patch_size": 2,
    "text_feat_dim": 2048,
    "timestep_scale": 1000.0,
}
_HUNYUAN_DIT = {"image_model": "hydit", "depth": 40, "hidden_size": 1408, "mlp_ratio": 4.3637}

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
    Checkpoint("Lumina 2", "Lumina2", _LUMINA, (128, 128), 256),
    Checkpoint("Z-Image Turbo", "ZImage", _Z_IMAGE, (128, 128), 256),
    Checkpoint(
        "HiDream-I1", "HiDream", _HIDREAM, (128, 128), 128, extra={"encoder_hidden_states_llama3": (1, 32, 128, 4096)}
    ),
    Checkpoint("OmniGen2", "Omnigen2", _OMNIGEN2, (128, 128), 256),
    Checkpoint(
        "HunyuanDiT 1.2",
        "HunyuanDiT",
        _HUNYUAN_DIT,
        (128, 128),
        77,
        extra={"encoder_hidden_states_t5": (1, 256, 2048)},
    ),
)
