"""AuraFlow, with register tokens in front of the text."""

import comfy.supported_models

from .case import Case

CASES = {
    "auraflow": Case(
        comfy.supported_models.AuraFlow,
        {
            "cond_seq_dim": 48,
            "max_seq": 20 * 20,
            "dim": 64,
            "n_heads": 2,
            "global_conddim": 64,
            "n_double_layers": 2,
            "n_layers": 4,
        },
        channels=4,
        context=48,
        rotary=False,
        sizes={"square": (16, 16), "wide": (12, 20), "odd": (13, 17)},
    )
}
