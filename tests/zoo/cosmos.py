"""Cosmos-Predict2."""

import comfy.supported_models

from .case import Case

CASES = {
    "cosmos predict2": Case(
        comfy.supported_models.CosmosT2IPredict2,
        {
            "image_model": "cosmos_predict2",
            "max_img_h": 48,
            "max_img_w": 48,
            "max_frames": 16,
            "in_channels": 16,
            "out_channels": 16,
            "patch_spatial": 2,
            "patch_temporal": 1,
            "model_channels": 64,
            "concat_padding_mask": True,
            "crossattn_emb_channels": 48,
            "pos_emb_cls": "rope3d",
            "pos_emb_learnable": True,
            "pos_emb_interpolation": "crop",
            "min_fps": 1,
            "max_fps": 30,
            "use_adaln_lora": True,
            "adaln_lora_dim": 32,
            "num_blocks": 3,
            "num_heads": 2,
            "extra_per_block_abs_pos_emb": False,
            "rope_h_extrapolation_ratio": 4.0,
            "rope_w_extrapolation_ratio": 4.0,
            "rope_t_extrapolation_ratio": 1.0,
            "rope_enable_fps_modulation": False,
        },
        channels=16,
        context=48,
        sizes={"square": (1, 16, 16), "wide": (2, 8, 12)},
        serves=lambda number: number % 2 == 0,
    )
}
