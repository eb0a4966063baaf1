"""Computes ``docs/families.md``: what a step of the published checkpoints costs, and what can be saved at most.

Models are built without memory, from the host's own classes; nothing is downloaded.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tools.host import ROOT, import_host

if "comfy" not in sys.modules:
    import_host()
import comfy.supported_models
import torch

from cat_core.algorithm.macs import ModelCost
from cat_core.algorithm.schedule import Schedule, StepKind
from cat_core.host.architecture import find_family
from cat_core.host.architecture.family import Family
from cat_core.host.tokens import TokenGrid
from cat_core.settings import PRESETS
from tools.checkpoints import CHECKPOINTS, IDLE_ONLY, Checkpoint

FILE = ROOT / "docs" / "families.md"
KEEP_RATIO = PRESETS["balanced"].keep_ratio
COLUMNS = (
    *("Family", "Preset", "Checkpoint", "Parameters", "Size", "Image + other tokens"),
    *("Full step", "Pruned step", "Caches", "Steps", "Gain", "With 50"),
)
HEAD = f"""# Families

What a step of published checkpoints costs for one conditioning, and what can be saved at most: no time is measured
here, but in [speed](speed.md). Computed by `make families` from the layers of ComfyUI's own classes, with the sizes
that were published; where there is an asterisk, with those that ComfyUI has as defaults.

- **Preset**: what *automatic* takes for the family.
- **Parameters** of the transformer, in billions.
- **Pruned step**: with {KEEP_RATIO:.0%} of the tokens, as preset *balanced* has it.
- **Full and pruned steps** are in T multiply-accumulates (MACs), linear layers alone and with attention.
- **Caches**: keys and values of one conditioning in GiB, for 16 bit and for float8. With CFG there are two, preset
  *quality* keeps none. Where heads share their keys, which ComfyUI 0.30 no longer repeats for each, they are a third
  (OmniGen2) or a quarter (Boogu, HiDream-O1) of that.
- **Steps**: as many as ComfyUI's template for the checkpoint has, or as its authors take.
- **Gain**: at most so many times fewer MACs with these steps, and with 50, with the preset, attention included.

| {" | ".join(COLUMNS)} |
|{"---|" * len(COLUMNS)}
"""
IDLE_HEAD = """
## Idle steps alone

All other models that ComfyUI samples have idle steps, with preset *quality*: of {steps} steps {computed} are computed,
{gain:.2f} times fewer MACs.

| Models | Classes of ComfyUI |
|---|---|
"""


def main() -> None:
    FILE.write_text(document(), encoding="utf-8")
    sys.stdout.write(f"{FILE.relative_to(Path.cwd()) if FILE.is_relative_to(Path.cwd()) else FILE}\n")


def document() -> str:
    """The whole file."""
    return HEAD + "".join(map(line, CHECKPOINTS)) + idle_table()


@dataclass(frozen=True)
class Figures:
    """A checkpoint's cost for one conditioning; ``others`` and ``companions`` are tokens that are never pruned."""

    family: Family
    cost: ModelCost
    parameters: int
    tokens: int
    others: int
    companions: int

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Figures:
        """Built without memory."""
        config = getattr(comfy.supported_models, checkpoint.config)(dict(checkpoint.unet))
        transformer = config.get_model({}, device=torch.device("meta")).diffusion_model
        family = find_family(transformer)
        assert family is not None, checkpoint.name
        tokens = TokenGrid(checkpoint.size, family.patch(transformer)).tokens
        extra = {name: torch.empty(shape, device="meta") for name, shape in checkpoint.extra.items()}
        others = family.other_tokens(transformer, checkpoint.text, extra)
        parameters = sum(weight.numel() for weight in transformer.parameters())
        return cls(family, family.cost(transformer), parameters, tokens, others, checkpoint.companions)

    def macs(self, keep_ratio: float) -> int:
        """Of a step, attention included."""
        return self.cost.total(*self.counts(keep_ratio))

    def counts(self, keep_ratio: float) -> tuple[int, ...]:
        """All, computed and other tokens, as costs are counted by."""
        return self.tokens, round(keep_ratio * self.tokens), self.others, self.companions

    def caches(self, bytes_a_number: int) -> int:
        """Bytes of keys and values."""
        return self.cost.count_cached(self.tokens, self.others) * bytes_a_number

    def speed_up(self, steps: int) -> float:
        """MACs of a run without over those of one with the family's preset."""
        settings, kinds = PRESETS[self.family.preset], plan(self.family.preset, steps)
        full, pruned = self.macs(1), self.macs(settings.keep_ratio)
        return steps * full / (kinds.count(StepKind.FULL) * full + kinds.count(StepKind.PRUNED) * pruned)


def plan(preset: str, steps: int) -> list[StepKind]:
    """What a run with a preset computes at each step."""
    return Schedule([1 - i / steps for i in range(steps + 1)], PRESETS[preset]).kinds


def line(checkpoint: Checkpoint) -> str:
    """A checkpoint's row of the table."""
    figures = Figures.of(checkpoint)
    cells = [figures.family.name, figures.family.preset, checkpoint.name + "*" * checkpoint.has_default_sizes]
    beside = figures.others + figures.companions
    cells += [f"{figures.parameters / 1e9:.1f}", checkpoint.picture, f"{figures.tokens} + {beside}"]
    cells += [_steps(figures, 1), _steps(figures, KEEP_RATIO)]
    cells += [" / ".join(f"{figures.caches(size) / 2**30:.2f}" for size in (2, 1)), str(checkpoint.steps)]
    cells += [f"{figures.speed_up(steps):.2f}x" for steps in (checkpoint.steps, 50)]
    return f"| {' | '.join(cells)} |\n"


def idle_table(steps: int = 28) -> str:
    """The classes of which no single tokens are computed."""
    computed = plan("quality", steps).count(StepKind.FULL)
    head = IDLE_HEAD.format(steps=steps, computed=computed, gain=steps / computed)
    return head + "".join(f"| {models} | {', '.join(classes)} |\n" for models, classes in IDLE_ONLY.items())


def _steps(figures: Figures, keep_ratio: float) -> str:
    linear = figures.cost.linear(*figures.counts(keep_ratio))
    return f"{linear / 1e12:.2f} / {figures.macs(keep_ratio) / 1e12:.2f}"


if __name__ == "__main__":
    main()
