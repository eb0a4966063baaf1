"""The node that loads the demo model."""

from comfy_api.latest import io

from ..cat_core.host.demo import load_demo
from .shared import CATEGORY

VARIANTS = ["base", "distilled"]


class CATPruningDemoLoader(io.ComfyNode):
    """Load the small model that comes with the pack."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CATPruningDemoLoader",
            display_name="CAT Pruning Demo Model",
            category=CATEGORY,
            description=(
                "A small SD3-type model that comes with CAT Pruning and draws emoji-like objects. Prompt it like "
                "'red apple and green apple on purple'. Use a 512 x 512 SD3 latent: pictures come out at 256 x 256."
            ),
            inputs=[
                io.Combo.Input(
                    "variant",
                    options=VARIANTS,
                    default="base",
                    optional=True,
                    tooltip="base: for 28 steps and CFG 4. distilled: for 8 steps and CFG 1, as Lightning models are.",
                )
            ],
            outputs=[
                io.Model.Output(tooltip="For CAT Pruning and KSampler."),
                io.Clip.Output(tooltip="For CLIP Text Encode."),
                io.Vae.Output(tooltip="For VAE Decode."),
            ],
        )

    @classmethod
    def execute(cls, variant: str = "base") -> io.NodeOutput:
        return io.NodeOutput(*load_demo(distilled=variant == "distilled"))
