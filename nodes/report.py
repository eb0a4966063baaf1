"""The node that tells what the last run did."""

import torch
from comfy_api.latest import io, ui

from ..cat_core.host.telling import Told, tell
from .shared import CATEGORY, show


class CATPruningReport(io.ComfyNode):
    """Show what CAT Pruning did in the run that made a latent."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CATPruningReport",
            display_name="CAT Pruning Report",
            category=CATEGORY,
            description=(
                "What CAT Pruning computed in the model's last run, and why anything ran in full. Connect the latent "
                "of that run, so that the report comes after it."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The same model that goes into the sampler."),
                io.Latent.Input("latent", tooltip="The sampler's output, so that the report comes after the run."),
            ],
            outputs=make_outputs(),
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, model, latent) -> io.NodeOutput:
        return hand_out(tell(model, latent["samples"]), latent, cls)


def make_outputs() -> list[io.Output]:
    """Of a node that reports."""
    return [
        io.Latent.Output("out_latent", display_name="latent", tooltip="The latent, unchanged."),
        io.String.Output("report", display_name="report", tooltip="What was computed, in a few lines."),
        io.Image.Output(
            "steps",
            display_name="steps",
            tooltip=(
                "Cost of every step: blue full, amber pruned, none idle. Below a tile for every pruned step: "
                "computed tokens are bright. The last tile shows the clusters."
            ),
        ),
    ]


def hand_out(told: Told, latent: dict, node: type[io.ComfyNode]) -> io.NodeOutput:
    """What such a node gives and shows."""
    # a copy: what comes from another process cannot be written to
    picture = torch.tensor(told.picture).unsqueeze(0)
    show(told.text, node)
    preview = ui.PreviewImage(picture, cls=node).as_dict()
    return io.NodeOutput(latent, told.text, picture, ui={**preview, "text": (told.text,), "report": (told.report,)})
