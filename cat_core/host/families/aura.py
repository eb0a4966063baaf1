"""AuraFlow: double blocks with joint attention, then single blocks over one sequence.

Host file: ``comfy/ldm/aura/mmdit.py``. Sequences are register tokens, text, image; position embeddings are added before
the first block.

Tested on ComfyUI 0.30.0, 0.24.0, 0.18.2, 0.3.75.
"""

from __future__ import annotations

from typing import Any

from ...algorithm.macs import ModelCost
from ..architecture.costs import linear_macs, model_cost, parts_macs
from ..architecture.family import Family
from ..architecture.layout import Blocks, Layout


class AuraFlow(Family):
    """See :class:`cat_core.host.architecture.family.Family`."""

    name = "AuraFlow"
    classes = (("comfy.ldm.aura.mmdit", "MMDiT"),)
    layout = Layout(
        blocks=(Blocks("double_layers", "double_block"), Blocks("single_layers", "single_block", joined=True)),
        text="txt",
    )

    def matches(self, transformer: Any) -> bool:
        return super().matches(transformer) and len(transformer.double_layers) > 0 < len(transformer.single_layers)

    def cost(self, transformer: Any) -> ModelCost:
        doubles, singles = transformer.double_layers, transformer.single_layers
        # the linear layers of text are numbered 1, those of image tokens 2
        text, image = (
            parts_macs(doubles, mlp, *(f"attn.w{number}{part}" for part in "qkvo"))
            for number, mlp in ((1, "mlpC"), (2, "mlpX"))
        )
        return model_cost(
            transformer,
            image=image,
            text=text + linear_macs(transformer.cond_seq_linear),
            both=parts_macs(singles, "attn", "mlp"),
            ends=linear_macs(transformer.init_x_linear, transformer.final_linear),
            joint_widths=(transformer.positional_encoding.shape[-1],) * (len(doubles) + len(singles)),
        )

    def other_tokens(self, transformer: Any, text: int, extra: dict[str, Any]) -> int:
        return text + transformer.register_tokens.shape[1]
