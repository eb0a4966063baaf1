"""Kandinsky 5: video, video with a given first frame, and image; older hosts may not have it."""

from dataclasses import replace

import comfy.supported_models
import torch

from .case import Case

UNET = {
    "image_model": "kandinsky5",
    "model_dim": 64,
    "ff_dim": 128,
    "time_dim": 32,
    "in_text_dim": 48,
    "in_text_dim2": 32,
    "num_text_blocks": 1,
    "num_visual_blocks": 3,
    "axes_dims": (8, 12, 12),
}


def cases():
    video = Case(
        comfy.supported_models.Kandinsky5,
        UNET,
        channels=16,
        context=48,
        pooled=32,
        sizes={"square": (1, 16, 16), "wide": (2, 8, 12)},
        serves=lambda number: number % 2 == 1,  # the first is over the text
        near_one=("norm",),
    )
    frame = torch.randn(1, 16, 1, 8, 12, generator=torch.Generator().manual_seed(4))
    given = replace(video, prompt={"time_dim_replace": frame}, sizes={"square": (3, 8, 12), "wide": (2, 8, 12)})
    image = replace(
        video,
        config=comfy.supported_models.Kandinsky5Image,
        unet={**UNET, "visual_embed_dim": 64, "rope_scale_factor": (1.0, 1.0, 1.0)},
        sizes={"square": (16, 16), "wide": (12, 20)},
    )
    return {"kandinsky 5": video, "kandinsky 5 given frame": given, "kandinsky 5 image": image}


CASES = cases() if hasattr(comfy.supported_models, "Kandinsky5Image") else {}
