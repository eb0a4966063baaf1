"""Small U-Nets, and Stable Cascade's two stages, which no family serves."""

from __future__ import annotations

from typing import Any

import torch


def weights_of(module: torch.nn.Module, prefix: str) -> dict[str, torch.Tensor]:
    """What the host takes from a checkpoint for a part that is not the transformer's."""
    return {f"{prefix}.{name}": torch.full_like(weight, 0.1) for name, weight in module.state_dict().items()}


UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 64,
    "num_res_blocks": [1, 1],
    "channel_mult": (1, 2),
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "legacy": False,
    "context_dim": 48,
    "num_heads": 4,
    "num_head_channels": -1,
    "adm_in_channels": None,
}
CLASSES = {**UNET, "num_classes": "sequential"}
MOVING = {
    **CLASSES,
    "use_temporal_attention": True,
    "use_temporal_resblock": True,
    "video_kernel_size": [3, 1, 1],
    "merge_strategy": "learned_with_images",
    "extra_ff_mix_layer": True,
}
SDXL = {**CLASSES, "adm_in_channels": 32 + 6 * 256}
IMAGES = {"channels": 4, "context": 48}
SDXL_IMAGES = {**IMAGES, "pooled": 32}
UNETS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **dict.fromkeys(("SD15", "SD20"), (UNET, IMAGES)),
    **dict.fromkeys(("SDXL", "SSD1B", "KOALA_700M", "KOALA_1B", "Segmind_Vega"), (SDXL, SDXL_IMAGES)),
    "SD15_instructpix2pix": ({**UNET, "in_channels": 8}, IMAGES),
    "Stable_Zero123": (
        {**UNET, "in_channels": 8},
        {**IMAGES, "model": weights_of(torch.nn.Linear(48, 48), "cc_projection")},
    ),
    "LotusD": ({**CLASSES, "adm_in_channels": 4}, IMAGES),
    "SD21UnclipL": ({**CLASSES, "adm_in_channels": 1536}, IMAGES),
    "SD21UnclipH": ({**CLASSES, "adm_in_channels": 2048}, IMAGES),
    "SDXL_instructpix2pix": ({**SDXL, "in_channels": 8}, SDXL_IMAGES),
    "SDXLRefiner": ({**CLASSES, "adm_in_channels": 1280 + 5 * 256}, {**IMAGES, "pooled": 1280}),
    # whose class says for four levels where there is no self-attention
    "SD_X4Upscaler": (
        {
            **UNET,
            "in_channels": 7,
            "num_res_blocks": [1, 1, 1, 1],
            "channel_mult": (1, 1, 1, 1),
            "transformer_depth": [0, 1, 1, 1],
            "transformer_depth_output": [0, 0, 1, 1, 1, 1, 1, 1],
        },
        IMAGES,
    ),
    "SVD_img2vid": ({**MOVING, "in_channels": 8, "adm_in_channels": 768}, IMAGES),
    "SV3D_u": ({**MOVING, "in_channels": 8, "adm_in_channels": 256}, IMAGES),
    "SV3D_p": ({**MOVING, "in_channels": 8, "adm_in_channels": 1280}, IMAGES),
    "Stable_Cascade_C": (
        {
            "stable_cascade_stage": "c",
            "c_cond": 64,
            "c_hidden": [64, 64],
            "nhead": [2, 2],
            "blocks": [[1, 1], [1, 1]],
            "c_clip_text": 48,
            "c_clip_text_pooled": 32,
        },
        {"channels": 16, "context": 48, "pooled": 32},
    ),
    "Stable_Cascade_B": (
        {
            "stable_cascade_stage": "b",
            "c_cond": 64,
            "c_hidden": [32, 64],
            "nhead": [-1, 2],
            "blocks": [[1, 1], [1, 1]],
            "block_repeat": [[1, 1], [1, 1]],
            "level_config": ["CT", "CTA"],
            "c_clip": 32,
            "dropout": [0, 0],
        },
        {"channels": 4, "context": 48, "pooled": 32, "sizes": {"square": (24, 24)}},
    ),
}
"""As in :mod:`.further`."""
