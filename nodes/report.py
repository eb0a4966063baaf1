"""The node that tells what the last run did."""

import torch
from comfy_api.latest import io, ui

from ..cat_core.host.patcher import last_report, report_of
from ..cat_core.picture import draw
from ..cat_core.report import Report
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
            outputs=[
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
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, model, latent) -> io.NodeOutput:
        try:
            report, text = _found(model, latent["samples"])
        except ValueError as error:
            report, text = None, str(error)
        picture = torch.from_numpy(draw(report or Report(""))).unsqueeze(0)
        show(text, cls)
        preview = ui.PreviewImage(picture, cls=cls).as_dict()
        shown = {**preview, "text": (text,), "report": (report.to_dict() if report else {},)}
        return io.NodeOutput(latent, text, picture, ui=shown)


def _found(model, samples) -> tuple[Report | None, str]:
    if report := report_of(model, samples):
        return report, report.text()
    if report := last_report(model):
        return report, f"{report.text()}\nNote: of the model's last run; it did not make this latent."
    return None, "No run yet: connect the very model that goes into the sampler."
