"""HiDream-O1, whose latents are pictures; older hosts may not have it."""

import comfy.supported_models
import torch

from .case import Case

TEXT = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "rope_dims": [6, 5, 5],
}
VISION = {"hidden_size": 32, "num_heads": 2, "intermediate_size": 32, "depth": 1}
TIME = 151673


class OfWords(Case):
    """Prompts are words, the last of which stands for the time; every run reads them anew."""

    def conditioning(self, seed, tokens=7, **extra):
        words = torch.randint(1000, (1, tokens), generator=torch.Generator().manual_seed(seed))
        words[:, -1] = TIME
        return [[None, {"text_input_ids": words, **extra}]]

    def sample(self, model, *args, **kwargs):
        model.model.diffusion_model.clear_kv_cache()
        return super().sample(model, *args, **kwargs)


def cases():
    case = OfWords(
        comfy.supported_models.HiDreamO1,
        {"image_model": "hidream_o1", "text_config_overrides": TEXT, "vision_config_overrides": VISION},
        channels=3,
        context=0,
        patch=(1, 32, 32),
        sharing=2,
        sizes={"square": (256, 256), "wide": (192, 320)},
        near_one=("norm",),
        inexact=0.02,  # words attend to those in front of them alone
    )
    return {"hidream o1": case}


CASES = cases() if hasattr(comfy.supported_models, "HiDreamO1") else {}
