"""Anima: Cosmos-Predict2's blocks, with a small network that turns the text of one encoder into that of another.

Host file: ``comfy/ldm/anima/model.py``. The network runs once for a prompt, in front of the sampler, and fills a prompt
up to 512 tokens. Other nodes' control of its attention is not served.

Tested on ComfyUI 0.30.0, 0.24.0, 0.18.2. Older ones do not have it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...algorithm.macs import ModelCost
from ..architecture.costs import linear_macs
from .cosmos import CosmosPredict2

PROMPT_TOKENS = 512
"""At least, where a prompt comes with tokens of the other encoder."""


class Anima(CosmosPredict2):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "Anima"
    classes = (("comfy.ldm.anima.model", "Anima"),)
    arguments = frozenset({"fps", "t5xxl_ids", "t5xxl_weights"})

    def cost(self, transformer: Any) -> ModelCost:
        cost = super().cost(transformer)
        return replace(cost, per_sample=cost.per_sample - linear_macs(transformer.llm_adapter))

    def other_tokens(self, transformer: Any, text: int, extra: dict[str, Any]) -> int:
        words = extra.get("t5xxl_ids")
        return text if words is None else max(words.shape[1], PROMPT_TOKENS)
