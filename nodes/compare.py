"""The node that compares pictures with and without CAT Pruning."""

from comfy_api.latest import io, ui

from ..cat_core.similarity import compare
from .shared import CATEGORY, found_by, show


class CATPruningCompare(io.ComfyNode):
    """Say and show how alike two pictures are."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CATPruningCompare",
            display_name="CAT Pruning Compare",
            **found_by("PSNR", "SSIM", "difference of images"),
            category=CATEGORY,
            description="How alike two pictures are: PSNR, SSIM and a map of where they differ.",
            inputs=[
                io.Image.Input(
                    "reference",
                    tooltip="Pictures made without CAT Pruning: one for each of the others, or one for all.",
                ),
                io.Image.Input("image", tooltip="Pictures of the same size made with CAT Pruning."),
            ],
            outputs=[
                io.String.Output(
                    "similarity",
                    display_name="similarity",
                    tooltip="PSNR in dB (40 and more is hard to see) and SSIM (1 is equal).",
                ),
                io.Image.Output(
                    "difference",
                    display_name="difference",
                    tooltip="Black is equal; the brightest colour is a fifth of the range or more.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, reference, image) -> io.NodeOutput:
        similarity, difference = compare(reference, image)
        show(similarity.text(), cls)
        return io.NodeOutput(similarity.text(), difference, ui=ui.PreviewImage(difference, cls=cls))
