"""Small models of all further classes of the host: sounds, shapes, pixels, families' kin for other uses, and U-Nets."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import comfy.supported_models
import torch
from comfy.ldm.audio.embedders import NumberConditioner

from small import CONTEXT, POOLED, SD3_CONFIG

from .case import Case, Joined, list_known
from .chroma import CASES as CHROMA
from .cogvideox import UNET as COGVIDEOX
from .cosmos import CASES as COSMOS
from .hunyuan_video import CASES as HUNYUAN
from .hunyuan_video import VIDEO as HUNYUAN_VIDEO
from .lumina import CASES as LUMINA
from .unets import UNETS, weights_of
from .wan import PICTURE
from .wan import SHARED as WAN
from .wan import UNET as WAN_UNET

DRAW = torch.Generator().manual_seed(7)


def draw(*shape: int) -> torch.Tensor:
    """Numbers that a conditioning holds."""
    return torch.randn(*shape, generator=DRAW)


SECONDS = {
    key: weight
    for end in ("start", "total")
    for key, weight in weights_of(NumberConditioner(768), f"conditioner.conditioners.seconds_{end}").items()
}
SOUND = {"channels": 64, "sizes": {"short": (24,), "odd": (17,)}}
AUDIO = {"audio_model": "dit1.0", "embed_dim": 64, "num_heads": 2, "depth": 2, "cond_token_dim": 768}
SHAPES = {"in_channels": 64, "hidden_size": 64, "num_heads": 2}
ACE_15 = {
    "audio_model": "ace1.5",
    "hidden_size": 64,
    "text_hidden_dim": 48,
    "num_dit_layers": 2,
    "num_lyric_layers": 1,
    "num_timbre_layers": 1,
    "num_tokenizer_layers": 1,
    "num_heads": 2,
    "num_kv_heads": 1,
    "head_dim": 32,
    "intermediate_size": 96,
    "fsq_dim": 64,
    "encoder_hidden_size": 64,
    "encoder_intermediate_size": 96,
    "encoder_num_heads": 2,
}
COSMOS_2 = COSMOS["cosmos predict2"].unet
COSMOS_1 = {
    **{name: value for name, value in COSMOS_2.items() if "fps" not in name},
    "image_model": "cosmos",
    "num_blocks": 2,
    "pos_emb_learnable": False,
    "block_config": "FA-CA-MLP",
    "block_x_format": "THWBD",
    "affline_emb_norm": True,
    "extra_per_block_abs_pos_emb": True,
    "extra_per_block_abs_pos_emb_type": "learnable",
}
PIXELS = {
    "image_model": "pixeldit_t2i",
    "in_channels": 3,
    "num_groups": 2,
    "hidden_size": 64,
    "pixel_hidden_size": 16,
    "pixel_attn_hidden_size": 32,
    "pixel_num_groups": 2,
    "patch_depth": 2,
    "pixel_depth": 1,
    "patch_size": 4,
    "txt_embed_dim": 48,
    "txt_max_length": 16,
}
WAN_VIDEO = {"channels": 16, **WAN}
WAN_PICTURE = {**WAN_VIDEO, "serves": lambda number: number % 3 == 0, "prompt": {"clip_vision_output": PICTURE}}


def of_case(case: Case) -> dict[str, Any]:
    """What a family's small model says of its latents and attention, for its kin."""
    names = ("channels", "context", "pooled", "sizes", "patch", "prompt", "behind", "serves")
    return {name: getattr(case, name) for name in names}


def wan(kind: str, **more: Any) -> dict[str, Any]:
    """A small Wan of another kind."""
    return {**WAN_UNET, "model_type": kind, **more}


TABLE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **UNETS,
    "StableAudio": ({**AUDIO, "project_cond_tokens": True}, {**SOUND, "context": 768, "model": SECONDS}),
    "StableAudio3": (
        {
            **AUDIO,
            "io_channels": 256,
            "project_cond_tokens": True,
            "timestep_features_type": "learned",
            "local_add_cond_dim": 257,
            "global_cond_dim": 768,
        },
        {**SOUND, "channels": 256, "context": 768, "model": SECONDS},
    ),
    "ACEStep": (
        {
            "audio_model": "ace",
            "num_layers": 2,
            "num_attention_heads": 2,
            "attention_head_dim": 16,
            "text_embedding_dim": 48,
        },
        {
            "channels": 8,
            "context": 48,
            "prompt": {"conditioning_lyrics": torch.arange(1, 6).unsqueeze(0)},
            "sizes": {"square": (16, 24), "wide": (16, 40)},
        },
    ),
    "ACEStep15": (ACE_15, {**SOUND, "context": 48, "prompt": {"conditioning_lyrics": draw(1, 5, 48)}}),
    "Hunyuan3Dv2": (
        {"image_model": "hunyuan3d2", **SHAPES, "context_in_dim": 48, "depth": 1, "depth_single_blocks": 2},
        {**SOUND, "context": 48},
    ),
    "Hunyuan3Dv2mini": (
        {"image_model": "hunyuan3d2", **SHAPES, "context_in_dim": 48, "depth": 1, "depth_single_blocks": 1},
        {**SOUND, "context": 48},
    ),
    "Hunyuan3Dv2_1": (
        {"image_model": "hunyuan3d2_1", **SHAPES, "context_dim": 48, "depth": 3, "num_moe_layers": 1, "num_experts": 2},
        {**SOUND, "context": 48},
    ),
    "CosmosT2V": (COSMOS_1, {"channels": 16, "context": 48, "sizes": {"square": (3, 8, 8)}}),
    "CosmosI2V": ({**COSMOS_1, "in_channels": 17}, {"channels": 16, "context": 48, "sizes": {"square": (3, 8, 8)}}),
    "PixelDiTT2I": (PIXELS, {"channels": 3, "context": 48}),
    "PiD": (
        {**PIXELS, "image_model": "pid", "lq_hidden_dim": 32, "lq_num_res_blocks": 1, "latent_spatial_down_factor": 4},
        {"channels": 3, "context": 48, "prompt": {"lq_latent": draw(1, 16, 1, 1), "degrade_sigma": torch.zeros(1)}},
    ),
    "MiniMaxH3": (
        {
            "image_model": "minimax_h3",
            "hidden_size": 64,
            "num_layers": 2,
            "token_refiner_num_layers": 1,
            "num_attention_heads": 2,
            "attention_head_dim": 48,
            "ffn_hidden_size": 96,
            "text_dim": 48,
            "time_embed_hidden_size": 64,
            "time_embed_dim": 64,
            "rope_inv_freq_len": 8,
        },
        {"channels": 24, "context": 48, "sizes": {"both": ((24, 2, 4, 4), (32, 2, 9))}},
    ),
    "TripoSplat": (
        {
            "image_model": "triposplat",
            "q_token_length": 16,
            "model_channels": 64,
            "cond_channels": 48,
            "num_blocks": 2,
            "num_refiner_blocks": 1,
            "num_head_channels": 32,
        },
        {"channels": 16, "context": 48, "sizes": {"both": ((16, 16), (1, 5))}},
    ),
    "SeedVR2": (
        {
            "image_model": "seedvr2",
            "norm_eps": 1e-5,
            "num_layers": 2,
            "mlp_type": "normal",
            "vid_dim": 64,
            "txt_in_dim": 48,
            "heads": 2,
            "head_dim": 32,
            "mm_layers": 1,
            "rope_dim": 32,
        },
        {"channels": 16, "context": 48, "sizes": {"square": (2, 8, 8)}, "prompt": {"condition": draw(1, 17, 2, 8, 8)}},
    ),
    "ChromaRadiance": (
        {
            **CHROMA["chroma"].unet,
            "image_model": "chroma_radiance",
            "in_channels": 3,
            "out_channels": 3,
            "patch_size": 4,
            "nerf_hidden_size": 16,
            "nerf_mlp_ratio": 2,
            "nerf_depth": 1,
            "nerf_max_freqs": 4,
            "nerf_tile_size": 0,
            "nerf_final_head_type": "conv",
            "nerf_embedder_dtype": None,
            "use_x0": True,
            "use_sequential_txt_ids": False,
        },
        {"channels": 3, "context": 48, "pooled": 32},
    ),
    "ZImagePixelSpace": (
        {
            **LUMINA["z-image"].unet,
            "image_model": "zimage_pixel",
            "patch_size": 4,
            "in_channels": 3,
            "decoder_hidden_size": 32,
            "decoder_num_res_blocks": 1,
            "decoder_max_freqs": 4,
        },
        {"channels": 3, "context": 48},
    ),
    "CosmosI2VPredict2": (
        {**COSMOS_2, "in_channels": 17},
        of_case(COSMOS["cosmos predict2"]),
    ),
    "HunyuanVideo15_SR_Distilled": (
        {**HUNYUAN["hunyuan video 1.5"].unet, "in_channels": 3 * 32 + 2},
        of_case(HUNYUAN["hunyuan video 1.5"]),
    ),
    "HunyuanImage21Refiner": (
        {**HUNYUAN["hunyuan image"].unet, "in_channels": 128, "patch_size": [1, 1, 1], "axes_dim": [8, 12, 12]},
        {**of_case(HUNYUAN["hunyuan image"]), "sizes": {"square": (1, 6, 6)}},
    ),
    "HunyuanVideoSkyreelsI2V": ({**HUNYUAN["hunyuan video"].unet, "in_channels": 32}, HUNYUAN_VIDEO),
    "HunyuanVideoI2V": ({**HUNYUAN["hunyuan video"].unet, "in_channels": 33}, HUNYUAN_VIDEO),
    "CogVideoX_Inpaint": (
        {**COGVIDEOX, "in_channels": 48},
        {"channels": 16, "context": 48, "sizes": {"square": (2, 8, 12)}},
    ),
    "WAN21_CausalAR_T2V": (wan("t2v", causal_ar=True), WAN_VIDEO),
    "WAN21_FunControl2V": (wan("i2v", in_dim=48), WAN_PICTURE),
    "WAN21_Vace": (wan("vace", vace_layers=3, vace_in_dim=96), WAN_VIDEO),
    "WAN21_Camera": (wan("camera", in_dim=36), WAN_VIDEO),
    "WAN22_Camera": (wan("camera_2.2", in_dim=36), WAN_VIDEO),
    "WAN22_S2V": (wan("s2v", audio_dim=32, audio_inject_layers=[0, 2]), WAN_VIDEO),
    "WAN21_HuMo": (wan("humo", in_dim=36), WAN_VIDEO),
    "WAN22_Animate": (wan("animate", in_dim=36), WAN_VIDEO),
    "WAN21_FlowRVS": (wan("flow_rvs"), WAN_VIDEO),
    "WAN21_SCAIL": (wan("scail", in_dim=20), WAN_VIDEO),
    "WAN21_SCAIL2": (wan("scail2", in_dim=20), WAN_VIDEO),
    "SD3": (SD3_CONFIG, {"channels": 16, "context": CONTEXT, "pooled": POOLED}),
    "WAN22_WanDancer": (wan("wandancer", in_dim=36, audio_inject_layers=[0, 2], music_dim=64), WAN_VIDEO),
}
"""Configuration and further arguments of :class:`Case`, by the class in ``comfy/supported_models.py``."""


PARAMETERS = {
    "ACEStep15": "comfy.ldm.ace.ace_step15.AceStepConditionGenerationModel",
    "ChromaRadiance": "comfy.ldm.chroma_radiance.model.ChromaRadianceParams",
}
"""What says which of a configuration's values a host knows, where hosts differ."""


def further_case(name: str) -> Case:
    """The small model of a class of :data:`TABLE` that this host has."""
    unet, more = TABLE[name]
    if name in PARAMETERS:
        module, _, parameters = PARAMETERS[name].rpartition(".")
        unet = list_known(getattr(import_module(module), parameters), unet)
    kind = Joined if "both" in more.get("sizes", {}) else Case
    # the host takes weights out of what it is given
    return kind(getattr(comfy.supported_models, name), unet, **{**more, "model": dict(more.get("model", {}))})
