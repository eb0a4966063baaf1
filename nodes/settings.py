"""The node with the knobs."""

from comfy_api.latest import io

from ..cat_core.settings import KNOBS, CATSettings, Knob
from .shared import CATEGORY, Settings


def _make_input(name: str, knob: Knob) -> io.Input:
    """The input of a knob. Advanced ones are shown by the front end on request."""
    shown = {"default": knob.default, "tooltip": knob.effect}
    if knob.options:
        made = io.Combo.Input(name, options=list(knob.options), **shown)
    elif isinstance(knob.default, str):
        # younger than workflows that were saved without it
        made = io.String.Input(name, optional=True, **shown)
    elif knob.step:
        made = io.Float.Input(name, min=float(knob.low), max=float(knob.high), step=knob.step, **shown)
    else:
        # by its name the front end would change a seed after every run
        fixed = {"control_after_generate": False} if name == "seed" else {}
        made = io.Int.Input(name, min=knob.low, max=knob.high, **shown, **fixed)
    if knob.advanced:
        # what the host's own `advanced=` does; 0.3.75 has no such argument
        made.extra_dict["advanced"] = True
    return made


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
                *(_make_input(name, knob) for name, knob in KNOBS.items()),
                io.Mask.Input(
                    "focus_mask", optional=True, tooltip="Tokens under this mask are computed at every pruned step."
                ),
            ],
            outputs=[Settings.Output("settings", display_name="settings", tooltip="Connect to CAT Pruning.")],
        )

    @classmethod
    def execute(cls, **knobs) -> io.NodeOutput:
        return io.NodeOutput(CATSettings(**knobs))
