"""The node that finds settings for a model and a graph by running them."""

import comfy.samplers
import comfy.utils
import torch
from comfy_api.latest import io, ui
from PIL import Image

from ..cat_core.chart import Point, draw_chart
from ..cat_core.host.aims import AIMS, PictureComparison, compare_latents, describe, keep
from ..cat_core.host.sampled import Sampled
from ..cat_core.host.tuning import Candidate, Findings, make_tuner
from .shared import CATEGORY, Settings, found_by, show

LARGEST_PREVIEW = 640


class CATPruningTune(io.ComfyNode):
    """Run a graph's sampling with many settings, and hand out the best."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CATPruningTune",
            display_name="CAT Pruning Tune",
            **found_by("calibrate", "benchmark", "find settings", "autotune"),
            category=CATEGORY,
            description=(
                "Finds settings for your model by running it: in full, with promising settings, and with fewer steps. "
                "Connect what goes into KSampler."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The model, as it would go into CAT Pruning."),
                io.Conditioning.Input("positive", tooltip="A prompt like those that the settings are for."),
                io.Conditioning.Input("negative", tooltip="As for KSampler."),
                io.Latent.Input("latent_image", tooltip="As for KSampler; of one picture."),
                io.Int.Input(
                    "seed", default=0, min=0, max=2**64 - 1, control_after_generate=False, tooltip="The first seed."
                ),
                io.Int.Input("seeds", default=2, min=1, max=16, tooltip="How many seeds, each run in full once."),
                io.Int.Input("steps", default=28, min=1, max=10000, tooltip="As for KSampler."),
                io.Float.Input("cfg", default=4.0, min=0.0, max=100.0, step=0.1, tooltip="As for KSampler."),
                io.Combo.Input("sampler_name", options=comfy.samplers.KSampler.SAMPLERS, tooltip="As for KSampler."),
                io.Combo.Input("scheduler", options=comfy.samplers.KSampler.SCHEDULERS, tooltip="As for KSampler."),
                io.Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="As for KSampler."),
                io.Combo.Input("aim", options=list(AIMS), tooltip="What is looked for."),
                io.Float.Input(
                    "cost",
                    default=0.5,
                    min=0.1,
                    max=0.95,
                    step=0.01,
                    tooltip="Share computed, for *closest at a cost*.",
                ),
                io.Float.Input(
                    "likeness",
                    default=35.0,
                    min=10.0,
                    max=80.0,
                    step=0.5,
                    tooltip="In dB, for *cheapest above a likeness*.",
                ),
                io.Int.Input("budget", default=12, min=4, max=200, tooltip="How many runs it may take."),
                io.Vae.Input("vae", optional=True, tooltip="With it pictures are compared, without it latents."),
            ],
            outputs=[
                Settings.Output("settings", display_name="settings", tooltip="The best, for CAT Pruning."),
                io.Image.Output(
                    "chart", display_name="chart", tooltip="Likeness of everything tried, over what it computes."
                ),
                io.String.Output("report", display_name="report", tooltip="What was found, in a few lines."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        latent_image,
        seed,
        seeds,
        steps,
        cfg,
        sampler_name,
        scheduler,
        denoise,
        aim,
        cost,
        likeness,
        budget,
        vae=None,
    ) -> io.NodeOutput:
        sampled = Sampled.of_ksampler(
            model, positive, negative, latent_image, steps, cfg, sampler_name, scheduler, denoise
        )
        compare = PictureComparison(vae.decode) if vae else compare_latents
        bar = comfy.utils.ProgressBar(budget)

        def tell(findings: Findings) -> None:
            chart = Image.fromarray((draw_chart(points(findings)) * 255).astype("uint8"))
            bar.update_absolute(budget - tuner.left, budget, ("JPEG", chart, LARGEST_PREVIEW))

        tuner = make_tuner(sampled, range(seed, seed + seeds), budget, compare, tell)
        findings = AIMS[aim](tuner, cost, likeness)
        text = describe(findings, "pictures" if vae else "latents")
        keep(sampled, findings)
        chart = torch.from_numpy(draw_chart(points(findings))).unsqueeze(0)
        show(text, cls)
        settings = findings.chosen.settings if findings.chosen else None
        return io.NodeOutput(settings, chart, text, ui=ui.PreviewImage(chart, cls=cls))


def points(findings: Findings) -> list[Point]:
    """What a chart shows."""

    def kind(one: Candidate) -> str:
        if one is findings.chosen:
            return "chosen"
        return "settings" if one.settings else "fewer steps"

    return [Point(one.mean("cost"), one.mean("similarity"), kind(one)) for one in findings.candidates]
