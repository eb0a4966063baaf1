"""The node with the knobs."""

from comfy_api.latest import io

from ..cat_core.settings import CACHE_DEVICES, CACHE_DTYPES, CATSettings
from .shared import CATEGORY, Settings

_DEFAULT = CATSettings()


def _advanced(widget: io.Input) -> io.Input:
    """Rarely needed: the front end shows it on request."""
    widget.extra_dict["advanced"] = True
    return widget


class CATPruningSettings(io.ComfyNode):
    """Build the settings of CAT Pruning."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CATPruningSettings",
            display_name="CAT Pruning Settings",
            category=CATEGORY,
            description="How much CAT Pruning computes, and when. Computing less is faster and less like the original.",
            inputs=[
                io.Float.Input(
                    "keep_ratio",
                    default=_DEFAULT.keep_ratio,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip=(
                        "Share of image tokens computed at a pruned step; its cost falls with it. 0: nothing is "
                        "computed between refreshes, and no keys and values are kept. 1 prunes nothing."
                    ),
                ),
                io.Int.Input(
                    "clusters",
                    default=_DEFAULT.clusters,
                    min=1,
                    max=1024,
                    tooltip="Regions that the image tokens are grouped into. The regions that change most come first.",
                ),
                io.Int.Input(
                    "refresh_interval",
                    default=_DEFAULT.refresh_interval,
                    min=0,
                    max=1000,
                    tooltip=(
                        "After warm-up at least every this many steps one step is computed in full. 2 or 3 stay close "
                        "to the original, 0 never refreshes."
                    ),
                ),
                io.Int.Input(
                    "pruned_interval",
                    default=_DEFAULT.pruned_interval,
                    min=1,
                    max=1000,
                    tooltip=(
                        "Between refreshes about every this many steps is a pruned one, at the others nothing is "
                        "computed. 1: every step is pruned. Without effect at keep_ratio 0."
                    ),
                ),
                io.Int.Input(
                    "warmup_steps",
                    default=_DEFAULT.warmup_steps,
                    min=0,
                    max=1000,
                    tooltip=(
                        "Steps computed in full first, while the composition forms. 0: automatic, 4; runs of less than "
                        "16 steps are computed in full."
                    ),
                ),
                _advanced(
                    io.Float.Input(
                        "cluster_share",
                        default=_DEFAULT.cluster_share,
                        min=0.0,
                        max=1.0,
                        step=0.05,
                        tooltip="Share of the computed tokens given to the clusters that change most; the others are "
                        "the tokens that were left out longest.",
                    )
                ),
                _advanced(
                    io.Float.Input(
                        "staleness_decay",
                        default=_DEFAULT.staleness_decay,
                        min=0.0,
                        max=1.0,
                        step=0.05,
                        tooltip="Part of its selection count that a token keeps per step. Low: tokens take turns fast.",
                    )
                ),
                _advanced(
                    io.Float.Input(
                        "position_weight",
                        default=_DEFAULT.position_weight,
                        min=0.0,
                        max=100.0,
                        step=0.1,
                        tooltip="Weight of a token's place against its content when clusters are formed. High: compact "
                        "regions; 0: clusters by content alone.",
                    )
                ),
                _advanced(
                    io.Int.Input(
                        "final_full_steps",
                        default=_DEFAULT.final_full_steps,
                        min=0,
                        max=1000,
                        tooltip="Steps computed in full at the end, where details settle. The last is worth most.",
                    )
                ),
                _advanced(
                    io.Float.Input(
                        "forecast",
                        default=_DEFAULT.forecast,
                        min=0.0,
                        max=1.0,
                        step=0.05,
                        tooltip="How far tokens that are not computed follow their last trend. 0 holds them still, at "
                        "1 they move on by up to as much as they last did.",
                    )
                ),
                _advanced(
                    io.Float.Input(
                        "correction",
                        default=_DEFAULT.correction,
                        min=0.0,
                        max=1.0,
                        step=0.05,
                        tooltip="How much of a forecast's error is made good when a token is computed again. Less may "
                        "be better if refreshes are more than three steps apart.",
                    )
                ),
                _advanced(
                    io.Float.Input(
                        "propagation",
                        default=_DEFAULT.propagation,
                        min=0.0,
                        max=1.0,
                        step=0.05,
                        tooltip="At a pruned step, how much tokens that are not computed follow the computed tokens of "
                        "their cluster.",
                    )
                ),
                _advanced(
                    io.Combo.Input(
                        "cache_dtype",
                        options=list(CACHE_DTYPES),
                        default=_DEFAULT.cache_dtype,
                        tooltip="Precision of cached keys and values; 'model' keeps the model's. float8 halves memory.",
                    )
                ),
                _advanced(
                    io.Combo.Input(
                        "cache_device",
                        options=list(CACHE_DEVICES),
                        default=_DEFAULT.cache_device,
                        tooltip="Where cached keys and values are kept. 'cpu' frees GPU memory and is slower.",
                    )
                ),
                _advanced(
                    io.Int.Input(
                        "seed",
                        default=_DEFAULT.seed,
                        min=0,
                        max=2**64 - 1,
                        control_after_generate=False,  # by its name the front end would change it after every run
                        tooltip="Seed of the clustering. The picture's own seed is the sampler's.",
                    )
                ),
                io.Mask.Input(
                    "focus_mask", optional=True, tooltip="Tokens under this mask are computed at every pruned step."
                ),
            ],
            outputs=[Settings.Output("settings", display_name="settings", tooltip="Connect to CAT Pruning.")],
        )

    @classmethod
    def execute(cls, **knobs) -> io.NodeOutput:
        return io.NodeOutput(CATSettings(**knobs))
