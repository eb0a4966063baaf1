"""A model that the pack does not ship, to see what tuning is worth elsewhere; :mod:`bench.train_second` trains it.

Of the host's SD3 class too, but narrower and deeper than the demo model, and of other pictures: 128 pixels of hills,
mosaics, rings and weaves in six palettes.
"""

from __future__ import annotations

from typing import Any

from safetensors.torch import load_file

from cat_core.host import demo
from tools.host import ROOT

FILE = ROOT / ".dev" / "second" / "second.safetensors"
SIZE = 128
TRANSFORMER = {
    **demo.TRANSFORMER,
    "depth": 3,
    "num_blocks": 10,
    "context_embedder_config": {
        "target": "torch.nn.Linear",
        "params": {"in_features": demo.WIDTH, "out_features": 3 * 64},
    },
}
KINDS = ("hills", "mosaic", "rings", "weave")
PALETTES = ("dawn", "forest", "ocean", "desert", "night", "candy")
WORDS = ["", *KINDS, *PALETTES]
CAPTIONS = [f"{kind} {palette}" for kind in KINDS for palette in PALETTES]


def load() -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE.

    Raises:
        FileNotFoundError: it was not trained yet.
    """
    if not FILE.exists():
        raise FileNotFoundError("The second model is not there: python3.11 tools/dev.py train-second trains it.")
    return demo.assemble(load_file(FILE), WORDS, TRANSFORMER)
