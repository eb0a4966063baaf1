"""Published checkpoints of every family: what the host detects of them, and a usual picture or video.

And what the host samples that no family serves.
"""

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
        steps: of the host's template for it, or what its authors use.
        picture: what the latent stands for.
        extra: shapes of further arguments of a model call.
        companions: tokens of another latent that goes along.
    """

    name: str
    config: str
    unet: dict[str, Any]
    size: tuple[int, ...]
    text: int
    steps: int
    picture: str = "1024 x 1024"
    extra: dict[str, tuple[int, ...]] = field(default_factory=dict)
    companions: int = 0

    @property
    def has_default_sizes(self) -> bool:
        """Whether its sizes are what the host's class has where a file does not say otherwise."""
        return set(self.unet) == {"image_model"}


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
    "txt_ids_dims": [],
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
    "txt_ids_dims": [3],
    "theta": 2000,
    "qkv_bias": False,
    "global_modulation": True,
    "mlp_silu_act": True,
    "ops_bias": False,
}
_KLEIN = {**_FLUX2, "guidance_embed": False}
_UNPOOLED = {**_FLUX, "vec_in_dim": None, "txt_ids_dims": [1, 2], "guidance_embed": False}
_OVIS = {**_UNPOOLED, "context_in_dim": 2048, "depth": 6, "depth_single_blocks": 27, "yak_mlp": True, "txt_norm": True}
_LONGCAT = {**_UNPOOLED, "context_in_dim": 3584, "depth": 10, "depth_single_blocks": 20}
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
_COGVIDEOX_2B = {"image_model": "cogvideox"}
_COGVIDEOX_5B = {
    **_COGVIDEOX_2B,
    "num_attention_heads": 48,
    "num_layers": 42,
    "use_rotary_positional_embeddings": True,
}
_JOYIMAGE = {"image_model": "joyimage", "hidden_size": 4096, "num_attention_heads": 32, "num_layers": 40}
_KANDINSKY5 = {"image_model": "kandinsky5", "model_dim": 1792, "ff_dim": 7168, "num_visual_blocks": 32}
_KANDINSKY5_WIDE = {"image_model": "kandinsky5", "axes_dims": (32, 48, 48)}
_HUNYUAN_DIT = {"image_model": "hydit", "depth": 40, "hidden_size": 1408, "mlp_ratio": 4.3637}

_QWEN_IMAGE = {"image_model": "qwen_image", "in_channels": 64, "num_layers": 60}
_CHROMA = {
    **{name: value for name, value in _FLUX.items() if name != "guidance_embed"},
    "image_model": "chroma",
    "vec_in_dim": None,
    "in_channels": 64,
    "out_channels": 64,
    "in_dim": 64,
    "out_dim": 3072,
    "hidden_dim": 5120,
    "n_layers": 5,
}
_AURA = {"cond_seq_dim": 2048, "dim": 3072, "n_double_layers": 4, "n_layers": 36, "max_seq": 96 * 96}
_LTXV = {"image_model": "ltxv", "num_layers": 28, "attention_head_dim": 64, "cross_attention_dim": 2048}
_LTX2 = {"image_model": "ltxav", "num_layers": 48, "attention_head_dim": 128, "cross_attention_dim": 4096}
_HUNYUAN_VIDEO = {
    "image_model": "hunyuan_video",
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": [1, 2, 2],
    "vec_in_dim": 768,
    "context_in_dim": 4096,
    "hidden_size": 3072,
    "mlp_ratio": 4.0,
    "num_heads": 24,
    "depth": 20,
    "depth_single_blocks": 40,
    "axes_dim": [16, 56, 56],
    "theta": 256,
    "qkv_bias": True,
    "guidance_embed": True,
    "byt5": False,
    "meanflow": False,
    "meanflow_sum": False,
    "use_cond_type_embedding": False,
    "vision_in_dim": None,
}
_HUNYUAN_IMAGE = {
    **_HUNYUAN_VIDEO,
    "in_channels": 64,
    "out_channels": 64,
    "patch_size": [1, 1],
    "vec_in_dim": None,
    "context_in_dim": 3584,
    "hidden_size": 3584,
    "num_heads": 28,
    "axes_dim": [64, 64],
    "guidance_embed": False,
    "byt5": True,
}
_HUNYUAN_VIDEO_15 = {
    **_HUNYUAN_VIDEO,
    "in_channels": 65,
    "out_channels": 32,
    "patch_size": [1, 1, 1],
    "vec_in_dim": None,
    "context_in_dim": 3584,
    "hidden_size": 2048,
    "num_heads": 16,
    "depth": 54,
    "depth_single_blocks": 0,
    "guidance_embed": False,
    "byt5": True,
    "use_cond_type_embedding": True,
    "vision_in_dim": 1152,
}
_MOCHI = {
    "image_model": "mochi_preview",
    "depth": 48,
    "patch_size": 2,
    "num_heads": 24,
    "hidden_size_x": 3072,
    "hidden_size_y": 1536,
    "mlp_ratio_x": 4.0,
    "mlp_ratio_y": 4.0,
    "learn_sigma": False,
    "in_channels": 12,
    "qk_norm": True,
    "qkv_bias": False,
    "out_bias": True,
    "attn_drop": 0.0,
    "patch_embed_bias": True,
    "posenc_preserve_area": True,
    "timestep_mlp_bias": True,
    "attend_to_padding": False,
    "timestep_scale": 1000.0,
    "use_t5": True,
    "t5_feat_dim": 4096,
    "t5_token_length": 256,
    "rope_theta": 10000.0,
}


def _wan(width: int, inner: int, depth: int, channels: int = 16) -> dict[str, Any]:
    heads = {"num_heads": width // 128, "freq_dim": 256, "qk_norm": True, "cross_attn_norm": True, "eps": 1e-6}
    shape = {"dim": width, "ffn_dim": inner, "num_layers": depth, "patch_size": (1, 2, 2)}
    return {"image_model": "wan2.1", "model_type": "t2v", "in_dim": channels, "out_dim": channels, **shape, **heads}


def _cosmos(width: int, depth: int, heads: int) -> dict[str, Any]:
    rotary = {f"rope_{axis}_extrapolation_ratio": 4.0 if axis != "t" else 1.0 for axis in "hwt"}
    places = {"max_img_h": 240, "max_img_w": 240, "max_frames": 128, "min_fps": 1, "max_fps": 30}
    return {
        "image_model": "cosmos_predict2",
        **places,
        **rotary,
        "in_channels": 16,
        "out_channels": 16,
        "patch_spatial": 2,
        "patch_temporal": 1,
        "model_channels": width,
        "concat_padding_mask": True,
        "crossattn_emb_channels": 1024,
        "pos_emb_cls": "rope3d",
        "pos_emb_learnable": True,
        "pos_emb_interpolation": "crop",
        "use_adaln_lora": True,
        "adaln_lora_dim": 256,
        "num_blocks": depth,
        "num_heads": heads,
        "extra_per_block_abs_pos_emb": False,
        "rope_enable_fps_modulation": False,
    }


CHECKPOINTS = (
    Checkpoint("SD3 medium", "SD3", _sd3(1536, 24, pos_embed_max_size=192, num_patches=192**2), (128, 128), 333, 28),
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
        28,
    ),
    Checkpoint(
        "SD3.5 large",
        "SD3",
        _sd3(2432, 38, qk_norm="rms", pos_embed_max_size=192, num_patches=192**2),
        (128, 128),
        333,
        20,
    ),
    Checkpoint(
        "PixArt-Sigma",
        "PixArtSigma",
        {"image_model": "pixart_sigma", **_PIXART, "micro_condition": False},
        (128, 128),
        300,
        20,
    ),
    Checkpoint("Flux.1 dev", "Flux", _FLUX, (128, 128), 512, 20),
    Checkpoint("Ovis-Image 7B", "FluxSchnell", _OVIS, (128, 128), 256, 20),
    Checkpoint("LongCat-Image", "LongCatImage", _LONGCAT, (128, 128), 512, 20),
    Checkpoint(
        "Flux.2 klein base 4B",
        "Flux2",
        {**_KLEIN, "hidden_size": 3072, "num_heads": 24, "depth": 5, "depth_single_blocks": 20, "context_in_dim": 7680},
        (64, 64),
        512,
        20,
    ),
    Checkpoint(
        "Flux.2 klein base 9B",
        "Flux2",
        {**_KLEIN, "hidden_size": 4096, "num_heads": 32, "depth_single_blocks": 24, "context_in_dim": 12288},
        (64, 64),
        512,
        20,
    ),
    Checkpoint("Flux.2 dev", "Flux2", _FLUX2, (64, 64), 512, 20),
    Checkpoint("Qwen-Image", "QwenImage", _QWEN_IMAGE, (1, 166, 166), 256, 50, "1328 x 1328"),
    Checkpoint(
        "Qwen-Image layered",
        "QwenImage",
        {**_QWEN_IMAGE, "use_additional_t_cond": True, "default_ref_method": "negative_index"},
        (3, 80, 80),
        256,
        20,
        "640 x 640, 2 layers",
    ),
    Checkpoint("Lumina 2", "Lumina2", _LUMINA, (128, 128), 256, 36),
    Checkpoint("NetaYume Lumina", "Lumina2", _LUMINA, (128, 128), 256, 30),
    Checkpoint(
        "NewBie",
        "Lumina2",
        {**_LUMINA, "n_layers": 36, "cap_feat_dim": 2560, "clip_text_dim": 1024},
        (192, 128),
        256,
        20,
        "1024 x 1536",
    ),
    Checkpoint("Z-Image", "ZImage", _Z_IMAGE, (128, 128), 256, 25),
    Checkpoint("Z-Image Turbo", "ZImage", _Z_IMAGE, (128, 128), 256, 8),
    Checkpoint("Chroma1-HD", "Chroma", _CHROMA, (128, 128), 256, 26),
    Checkpoint("AuraFlow 0.3", "AuraFlow", _AURA, (128, 128), 256, 25),
    Checkpoint("Wan 2.1 1.3B", "WAN21_T2V", _wan(1536, 8960, 30), (21, 60, 104), 512, 30, "832 x 480 x 81"),
    Checkpoint("Wan 2.1 14B", "WAN21_T2V", _wan(5120, 13824, 40), (21, 60, 104), 512, 20, "832 x 480 x 81"),
    Checkpoint("Wan 2.2 14B, each of two", "WAN21_T2V", _wan(5120, 13824, 40), (21, 80, 80), 512, 10, "640 x 640 x 81"),
    Checkpoint("Wan 2.2 5B", "WAN22_T2V", _wan(3072, 14336, 30, 48), (31, 44, 80), 512, 20, "1280 x 704 x 121"),
    Checkpoint("HunyuanVideo", "HunyuanVideo", _HUNYUAN_VIDEO, (19, 60, 106), 256, 20, "848 x 480 x 73"),
    Checkpoint("HunyuanVideo 1.5", "HunyuanVideo15", _HUNYUAN_VIDEO_15, (31, 45, 80), 256, 20, "1280 x 720 x 121"),
    Checkpoint("HunyuanImage 2.1", "HunyuanImage21", _HUNYUAN_IMAGE, (64, 64), 256, 50, "2048 x 2048"),
    Checkpoint("LTX-Video 2B", "LTXV", _LTXV, (13, 16, 24), 256, 30, "768 x 512 x 97"),
    Checkpoint("LTX-2 19B", "LTXAV", _LTX2, (16, 11, 20), 1024, 20, "640 x 352 x 121", companions=126),
    Checkpoint("Cosmos-Predict2 2B", "CosmosT2IPredict2", _cosmos(2048, 28, 16), (1, 128, 128), 512, 35),
    Checkpoint("Cosmos-Predict2 14B", "CosmosT2IPredict2", _cosmos(5120, 36, 40), (1, 128, 128), 512, 35),
    Checkpoint("Anima", "Anima", {**_cosmos(2048, 28, 16), "image_model": "anima"}, (1, 128, 128), 512, 30),
    Checkpoint("Mochi 1", "GenmoMochi", _MOCHI, (7, 60, 106), 256, 30, "848 x 480 x 37"),
    Checkpoint(
        "HiDream-I1",
        "HiDream",
        _HIDREAM,
        (128, 128),
        128,
        50,
        extra={"encoder_hidden_states_llama3": (1, 32, 128, 4096)},
    ),
    Checkpoint(
        "HiDream-O1",
        "HiDreamO1",
        {"image_model": "hidream_o1"},
        (2048, 2048),
        0,
        40,
        "2048 x 2048",
        extra={"input_ids": (1, 128)},
    ),
    Checkpoint("OmniGen2", "Omnigen2", _OMNIGEN2, (128, 128), 256, 20),
    Checkpoint("Boogu", "Boogu", {"image_model": "boogu"}, (128, 128), 256, 25),
    Checkpoint("Ideogram 4", "Ideogram4", {"image_model": "ideogram4"}, (64, 64), 256, 20),
    Checkpoint("Krea 2 Turbo", "Krea2", {"image_model": "krea2"}, (1, 128, 128), 256, 8),
    Checkpoint("Lens", "Lens", {"image_model": "lens"}, (90, 90), 256, 20, "1440 x 1440"),
    Checkpoint("MageFlow", "MageFlow", {"image_model": "mage_flow"}, (64, 64), 256, 30),
    Checkpoint("JoyImage-Edit", "JoyImage", _JOYIMAGE, (1, 128, 128), 256, 40),
    Checkpoint("ERNIE-Image", "ErnieImage", {"image_model": "ernie"}, (64, 64), 256, 20),
    Checkpoint(
        "Kandinsky 5 Lite image",
        "Kandinsky5Image",
        {**_KANDINSKY5_WIDE, "model_dim": 2560, "ff_dim": 10240, "num_visual_blocks": 50, "visual_embed_dim": 64},
        (128, 128),
        256,
        50,
    ),
    Checkpoint("Kandinsky 5 Lite video", "Kandinsky5", _KANDINSKY5, (31, 64, 96), 256, 50, "768 x 512 x 121"),
    Checkpoint(
        "Kandinsky 5 Pro video",
        "Kandinsky5",
        {
            **_KANDINSKY5_WIDE,
            "model_dim": 4096,
            "ff_dim": 16384,
            "time_dim": 1024,
            "num_text_blocks": 4,
            "num_visual_blocks": 60,
        },
        (31, 64, 96),
        256,
        50,
        "768 x 512 x 121",
    ),
    Checkpoint("CogVideoX 2B", "CogVideoX_T2V", _COGVIDEOX_2B, (13, 60, 90), 226, 50, "720 x 480 x 49"),
    Checkpoint("CogVideoX 5B", "CogVideoX_T2V", _COGVIDEOX_5B, (13, 60, 90), 226, 50, "720 x 480 x 49"),
    Checkpoint(
        "HunyuanDiT 1.2",
        "HunyuanDiT",
        _HUNYUAN_DIT,
        (128, 128),
        77,
        30,
        extra={"encoder_hidden_states_t5": (1, 256, 2048)},
    ),
)

IDLE_ONLY = {
    "Stable Diffusion 1 and 2": (
        *("SD15", "SD20", "SD15_instructpix2pix", "SD21UnclipL", "SD21UnclipH"),
        *("SD_X4Upscaler", "Stable_Zero123", "LotusD"),
    ),
    "SDXL": ("SDXL", "SDXLRefiner", "SDXL_instructpix2pix", "SSD1B", "KOALA_700M", "KOALA_1B", "Segmind_Vega"),
    "Stable Cascade": ("Stable_Cascade_C", "Stable_Cascade_B"),
    "Stable Video Diffusion": ("SVD_img2vid", "SV3D_u", "SV3D_p"),
    "Stable Audio": ("StableAudio", "StableAudio3"),
    "ACE-Step": ("ACEStep", "ACEStep15"),
    "MiniMax H3": ("MiniMaxH3",),
    "Cosmos 1": ("CosmosT2V", "CosmosI2V"),
    "Wan for other uses": (
        *("WAN21_CausalAR_T2V", "WAN21_Vace", "WAN21_Camera", "WAN22_Camera", "WAN22_S2V", "WAN21_HuMo"),
        *("WAN22_Animate", "WAN21_SCAIL", "WAN21_SCAIL2", "WAN22_WanDancer"),
    ),
    "SeedVR2": ("SeedVR2",),
    "Pixels in place of latents": ("ChromaRadiance", "ZImagePixelSpace", "PixelDiTT2I", "PiD"),
    "Shapes: Hunyuan3D, TripoSplat": ("Hunyuan3Dv2", "Hunyuan3Dv2mini", "Hunyuan3Dv2_1", "TripoSplat"),
}
"""Classes of the host whose tokens no family knows."""
