"""The node that loads the demo model."""

from comfy_api.latest import io

from ..cat_core.host.demo import load_demo
from .shared import CATEGORY


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
            inputs=[],
            outputs=[
                io.Model.Output(tooltip="For CAT Pruning and KSampler."),
                io.Clip.Output(tooltip="For CLIP Text Encode."),
                io.Vae.Output(tooltip="For VAE Decode."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*load_demo())
