"""Computes ``docs/families.md``: what a step of the published checkpoints costs, and what can be saved at most.

Models are built without memory, from the host's own classes; nothing is downloaded.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tools.host import ROOT, import_host

if "comfy" not in sys.modules:
    import_host()
import comfy.supported_models
import torch

from cat_core.algorithm.macs import ModelCost
from cat_core.algorithm.schedule import Schedule, StepKind
from cat_core.host.families import find_family
from cat_core.host.tokens import TokenGrid
from cat_core.settings import PRESETS
from tools.checkpoints import CHECKPOINTS, Checkpoint

FILE = ROOT / "docs" / "families.md"
KEEP_RATIO = PRESETS["balanced"].keep_ratio
HEAD = f"""# Families

What a step of published checkpoints costs for one conditioning, and what can be saved at most: no time is measured
here. Computed by `make families` from the layers of ComfyUI's own classes.

- **Preset**: what *automatic* takes for the family.
- **Pruned step**: with {KEEP_RATIO:.0%} of the tokens, as preset *balanced* has it.

- **Steps** are in T multiply-accumulates (MACs), linear layers alone and with attention.
- **Caches**: keys and values of one conditioning in GiB, for 16 bit and for float8. With CFG there are two, preset
  *quality* keeps none.
- **28 steps, 50 steps**: at most so many times fewer MACs, with the preset, attention included.

| Family | Preset | Checkpoint | Size | Image + other tokens | Full step | Pruned step | Caches | 28 steps | 50 steps |
|---|---|---|---|---|---|---|---|---|---|
"""


def main() -> None:
    FILE.write_text(document(), encoding="utf-8")
    sys.stdout.write(f"{FILE.relative_to(Path.cwd()) if FILE.is_relative_to(Path.cwd()) else FILE}\n")


def document() -> str:
    """The whole file."""
    return HEAD + "\n".join(line(checkpoint) for checkpoint in CHECKPOINTS) + "\n"


def line(checkpoint: Checkpoint) -> str:
    """A checkpoint's row of the table."""
    config = getattr(comfy.supported_models, checkpoint.config)(dict(checkpoint.unet))
    transformer = config.get_model({}, device=torch.device("meta")).diffusion_model
    family = find_family(transformer)
    assert family is not None, checkpoint.name
    cost = family.cost(transformer)
    tokens = TokenGrid(checkpoint.size, family.patch(transformer)).tokens
    extra = {name: torch.empty(shape, device="meta") for name, shape in checkpoint.extra.items()}
    others = family.other_tokens(transformer, checkpoint.text, extra)
    kept = round(KEEP_RATIO * tokens)
    full, pruned = (_macs(cost, tokens, computed, others) for computed in (tokens, kept))
    caches = " / ".join(f"{cost.cached(tokens, others) * size / 2**30:.2f}" for size in (2, 1))
    most = [f"{speed_up(cost, tokens, others, steps, family.preset):.2f}x" for steps in (28, 50)]
    cells = [
        family.name,
        family.preset,
        checkpoint.name,
        checkpoint.picture,
        f"{tokens} + {others}",
        full,
        pruned,
        caches,
        *most,
    ]
    return f"| {' | '.join(cells)} |"


def _macs(cost: ModelCost, tokens: int, computed: int, others: int) -> str:
    return f"{cost.linear(tokens, computed, others) / 1e12:.2f} / {cost.total(tokens, computed, others) / 1e12:.2f}"


def speed_up(cost: ModelCost, tokens: int, others: int, steps: int, preset: str) -> float:
    """MACs of a run without over those of one with the preset."""
    settings = PRESETS[preset]
    kinds = Schedule([1 - i / steps for i in range(steps + 1)], settings).kinds
    kept = round(settings.keep_ratio * tokens)
    full, pruned = (cost.total(tokens, computed, others) for computed in (tokens, kept))
    return steps * full / (kinds.count(StepKind.FULL) * full + kinds.count(StepKind.PRUNED) * pruned)


if __name__ == "__main__":
    main()
