"""The node that attaches CAT Pruning to a model."""

from comfy_api.latest import io

from ..cat_core.host import architecture
from ..cat_core.host.patcher import attach, detach
from ..cat_core.host.tuned import choose_tuned
from ..cat_core.settings import PRESETS
from .shared import CATEGORY, Settings, found_by, show

AUTOMATIC = "automatic"
"""The preset that the model's family names."""
TUNED = "tuned"
"""What was found for the model."""
CHOICES = {AUTOMATIC: None, **PRESETS, TUNED: choose_tuned}
"""What a preset gives to the engine."""


class CATPruning(io.ComfyNode):
    """Attach CAT Pruning to a clone of the model."""

    architecture = architecture
    """For other packs that bring a family of their own, see its ``register_family``."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CATPruning",
            display_name="CAT Pruning",
            **found_by("cache", "token cache", "speed up", "faster", "accelerate", "prune tokens", "skip steps"),
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
                    options=list(CHOICES),
                    default=AUTOMATIC,
                    tooltip=(
                        "automatic: balanced, or quality where the model asks for it. balanced: about half the "
                        "computation. quality: closer to the original, a third less. speed: about a third of the "
                        "computation. paper: as published. tuned: what was found for this model. Not used if settings "
                        "are connected."
                    ),
                ),
                Settings.Input(
                    "settings", optional=True, tooltip="From CAT Pruning Settings; used in place of the preset."
                ),
            ],
            outputs=[io.Model.Output(tooltip="Connect to the sampler, and to CAT Pruning Report.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model, enabled: bool, preset: str = AUTOMATIC, settings=None) -> io.NodeOutput:
        if not enabled:
            show("Off: the model samples as without this node.", cls)
            return io.NodeOutput(detach(model))
        # the host lets any text through that comes by its API
        if preset not in CHOICES:
            raise ValueError(f"preset must be one of {', '.join(CHOICES)}, not {preset!r}.")
        chosen = settings or CHOICES[preset]
        # a run comes later than this node: its result is shown when it ends
        return io.NodeOutput(attach(model, chosen, lambda report: show(report.brief(), cls)))
