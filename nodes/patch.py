"""The node that attaches CAT Pruning to a model."""

from comfy_api.latest import io

from ..cat_core.host.patcher import attach, detach
from ..cat_core.settings import PRESETS
from .types import CATEGORY, Settings

AUTOMATIC = "automatic"
"""The preset that the model's family names."""


class CATPruning(io.ComfyNode):
    """Attach CAT Pruning to a clone of the model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CATPruning",
            display_name="CAT Pruning",
            category=CATEGORY,
            description=(
                "Makes a diffusion transformer faster: after a warm-up, pruned steps compute only the image tokens "
                "that still change. A model or graph that it cannot serve samples as without it, and the report says "
                "why."
            ),
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The model to speed up: SD3, PixArt, Flux, Qwen, Wan, more; all others at preset quality.",
                ),
                io.Boolean.Input(
                    "enabled", default=True, tooltip="Off: the model samples exactly as without this node."
                ),
                io.Combo.Input(
                    "preset",
                    options=[AUTOMATIC, *PRESETS],
                    default=AUTOMATIC,
                    tooltip=(
                        "automatic: balanced, or quality where the model asks for it. balanced: about half the "
                        "computation. quality: closer to the original, a third less. speed: nearly a third of the "
                        "computation. paper: as published. Not used if settings are connected."
                    ),
                ),
                Settings.Input(
                    "settings", optional=True, tooltip="From CAT Pruning Settings; used in place of the preset."
                ),
            ],
            outputs=[io.Model.Output(tooltip="Connect to the sampler, and to CAT Pruning Report.")],
        )

    @classmethod
    def execute(cls, model, enabled: bool, preset: str = AUTOMATIC, settings=None) -> io.NodeOutput:
        return io.NodeOutput(attach(model, settings or PRESETS.get(preset)) if enabled else detach(model))
