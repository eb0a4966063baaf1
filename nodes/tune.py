"""The node that finds settings for a model and a graph by running them."""

from dataclasses import replace

import comfy.samplers
import comfy.utils
import torch
from comfy.model_management import InterruptProcessingException
from comfy_api.latest import io, ui

from ..cat_core.chart import Point, draw_chart
from ..cat_core.host.aims import AIMS, Pictures, compare_latents, describe, describe_progress, keep
from ..cat_core.host.graph import make_guider, sample_like_custom, sample_like_ksampler
from ..cat_core.host.sampled import Sampled
from ..cat_core.host.tuning import Candidate, Findings, Tuner, make_tuner
from ..cat_core.settings import IN_FULL
from .shared import CATEGORY, Settings, found_by, show


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
                "Connect what goes into KSampler, or into SamplerCustomAdvanced."
            ),
            inputs=[
                io.Latent.Input("latent_image", tooltip="What goes into the sampler. Small batches are faster."),
                io.Model.Input("model", optional=True, tooltip="What goes into the sampler, or into CAT Pruning."),
                io.Conditioning.Input(
                    "positive", optional=True, tooltip="A prompt like those that the settings are for."
                ),
                io.Conditioning.Input("negative", optional=True, tooltip="Without it there is no CFG."),
                io.Guider.Input("guider", optional=True, tooltip="In place of model, prompts and cfg."),
                io.Sampler.Input("sampler", optional=True, tooltip="With sigmas, in place of sampler_name."),
                io.Sigmas.Input("sigmas", optional=True, tooltip="In place of steps, scheduler and denoise."),
                io.Noise.Input("noise", optional=True, tooltip="With sigmas, in place of seed, which it begins with."),
                io.Vae.Input("vae", optional=True, tooltip="With it pictures are compared, without it latents."),
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
                    tooltip="For *closest at a cost*: the share of a run that may be computed.",
                ),
                io.Float.Input(
                    "likeness",
                    default=35.0,
                    min=10.0,
                    max=80.0,
                    step=0.5,
                    tooltip="For *cheapest above a likeness*: PSNR in dB to the run in full.",
                ),
                io.Int.Input("budget", default=12, min=4, max=200, tooltip="How many runs it may take."),
            ],
            outputs=[
                Settings.Output(
                    "settings", display_name="settings", tooltip="The best, for CAT Pruning; all in full if none is."
                ),
                io.Image.Output("chart", display_name="chart", tooltip="Likeness of all that was tried over its cost."),
                io.String.Output("report", display_name="report", tooltip="What was found, in a few lines."),
                io.Image.Output(
                    "pictures",
                    display_name="pictures",
                    tooltip="Side by side: in full, the best, fewer steps in as much time. Without a VAE the chart.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, latent_image, aim, cost, likeness, budget, seed, seeds, vae=None, noise=None, **graph):
        # the host lets any text through that comes by its API
        if aim not in AIMS:
            raise ValueError(f"aim must be one of {', '.join(AIMS)}, not {aim!r}.")
        sampled = _read_graph(latent_image, noise, **graph)
        first = getattr(noise, "seed", seed)
        pictures = Pictures(vae.decode) if vae else None
        bar = comfy.utils.ProgressBar(budget * sampled.steps)

        def tell_step(share: float) -> None:
            # this is where the host stops a prompt that is interrupted
            bar.update_absolute(int((budget - tuner.left + share) * sampled.steps))

        def tell_run() -> None:
            bar.update_absolute((budget - tuner.left) * sampled.steps)
            # not the progress bar's preview: that stays beside the result
            chart = ui.PreviewImage(_chart(tuner.findings), cls=cls)
            show(describe_progress(tuner), cls, chart.as_dict()["images"])

        sampled = replace(sampled, on_step=tell_step)
        compare = pictures.compare if pictures else compare_latents
        tuner = make_tuner(sampled, _seeds(first, seeds), budget, compare, tell_run)
        try:
            AIMS[aim](tuner, cost, likeness)
        except InterruptProcessingException:
            found = _conclude(tuner, sampled, pictures) if tuner.findings.seconds else "Nothing was measured."
            show(f"Interrupted. {found}", cls)
            raise
        text, chart = _conclude(tuner, sampled, pictures), _chart(tuner.findings)
        show(text, cls)
        chosen = tuner.findings.chosen
        shown = pictures.side_by_side(tuner.findings) if pictures else chart
        return io.NodeOutput(
            chosen.settings if chosen else IN_FULL, chart, text, shown, ui=ui.PreviewImage(chart, cls=cls)
        )


def _read_graph(
    latent, noise, steps, cfg, sampler_name, scheduler, denoise,
    model=None, positive=None, negative=None, guider=None, sampler=None, sigmas=None,
) -> Sampled:  # fmt: skip
    """What the connected inputs sample. Raises ``ValueError`` for inputs that do not belong together."""
    of_prompts = model is not None and positive is not None
    if (guider is None) != of_prompts or (guider is not None and (model, positive, negative) != (None, None, None)):
        raise ValueError("Connect model and positive, as to KSampler, or guider: either, and not both.")
    if (sampler is None) != (sigmas is None) or (noise is not None and sigmas is None):
        raise ValueError("sampler and sigmas belong together, and noise wants them: connect both, or none of them.")
    guider = guider or make_guider(model, positive, negative, cfg)
    if sigmas is None:
        return sample_like_ksampler(guider, latent, steps, sampler_name, scheduler, denoise)
    return sample_like_custom(guider, latent, sampler, sigmas, noise)


def _seeds(first: int, count: int) -> list[int]:
    """In a row, and on from 0 behind the last one that there is."""
    return [(first + number) % 2**64 for number in range(count)]


def _conclude(tuner: Tuner, sampled: Sampled, pictures: Pictures | None) -> str:
    """Keep what was found, and tell of it."""
    text = describe(tuner.findings, "pictures" if pictures else "latents")
    return "\n".join(filter(None, (text, keep(sampled, tuner.findings))))


def _chart(findings: Findings) -> torch.Tensor:
    """[1, 400, 640, 3] of what was measured so far."""

    def kind(one: Candidate) -> str:
        if one is findings.chosen:
            return "chosen"
        return "settings" if one.settings else "fewer steps"

    points = [Point(one.mean("cost"), one.mean("similarity"), kind(one)) for one in findings.candidates]
    return torch.from_numpy(draw_chart(points)).unsqueeze(0)
