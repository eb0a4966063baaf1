"""The nodes for Raylight's workers. The host is given them where Raylight is."""

from comfy_api.latest import io

from ..cat_core.host import raylight
from ..cat_core.settings import PRESETS
from .patch import AUTOMATIC
from .report import hand_out, make_outputs
from .shared import CATEGORY, Settings, found_by, show

Actors = io.Custom("RAY_ACTORS")
CHOICES = {AUTOMATIC: None, **PRESETS}
"""Without *tuned*: nothing finds settings for a model that is in workers."""


class CATPruningRaylight(io.ComfyNode):
    """Attach CAT Pruning to the models of Raylight's workers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CATPruningRaylight",
            display_name="CAT Pruning (Raylight)",
            **found_by("ray", "several GPUs", "cache", "speed up", "faster"),
            category=CATEGORY,
            description=(
                "CAT Pruning for models that Raylight runs on several GPUs: idle steps, and pruned ones where every "
                "GPU works alone. Workers keep it until this node is switched off."
            ),
            inputs=[
                Actors.Input("ray_actors", tooltip="From Raylight's model loader, or from its LoRA or model nodes."),
                io.Boolean.Input(
                    "enabled", default=True, tooltip="Off: CAT Pruning is taken off the models of all workers."
                ),
                io.Combo.Input(
                    "preset",
                    options=list(CHOICES),
                    default=AUTOMATIC,
                    tooltip=(
                        "As for CAT Pruning: automatic, balanced, quality, speed or paper. Where GPUs share work, "
                        "idle steps take the place of pruned ones. Not used if settings are connected."
                    ),
                ),
                Settings.Input(
                    "settings", optional=True, tooltip="From CAT Pruning Settings; used in place of the preset."
                ),
            ],
            outputs=[
                Actors.Output(
                    "actors",
                    display_name="ray_actors",
                    tooltip="Connect to Raylight's sampler, and to CAT Pruning Report (Raylight).",
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, ray_actors, enabled: bool, preset: str = AUTOMATIC, settings=None) -> io.NodeOutput:
        # the host lets any text through that comes by its API
        if preset not in CHOICES:
            raise ValueError(f"preset must be one of {', '.join(CHOICES)}, not {preset!r}.")
        if enabled:
            show(raylight.attach(ray_actors, settings or CHOICES[preset]), cls)
        else:
            raylight.detach(ray_actors)
            show("Off: the workers sample as without this node.", cls)
        return io.NodeOutput(ray_actors)


class CATPruningReportRaylight(io.ComfyNode):
    """Show what CAT Pruning did in a run of Raylight's workers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CATPruningReportRaylight",
            display_name="CAT Pruning Report (Raylight)",
            category=CATEGORY,
            description=(
                "What CAT Pruning computed in the run of Raylight's workers that made a latent, and why anything ran "
                "in full. Workers that share a run have the same report."
            ),
            inputs=[
                Actors.Input("ray_actors", tooltip="The same that go into Raylight's sampler."),
                io.Latent.Input("latent", tooltip="The sampler's output, so that the report comes after the run."),
            ],
            outputs=make_outputs(),
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, ray_actors, latent) -> io.NodeOutput:
        return hand_out(raylight.tell(ray_actors, latent["samples"]), latent, cls)
