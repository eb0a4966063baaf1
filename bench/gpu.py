"""How fast steps and runs with CAT Pruning are on a GPU next to the unpatched model's: ``make bench-gpu``.

Models of the host at their published width, depth and size, with random weights: nothing is downloaded. They sample
through the host's own path with and without CAT Pruning, turn by turn in one process. Every part is kept when it is
measured and not measured again for the same engine, card, driver and torch: the benchmark can be interrupted, and
``--minutes`` bounds it. In the end it writes gpu.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch

from tools.host import ROOT, import_host

if "comfy" not in sys.modules:
    import_host(cpu=not torch.cuda.is_available())
from comfy.ldm.modules.attention import get_attention_function
from comfyui_version import __version__ as host_version

from bench.engine import SPEED, identify
from bench.gpu_document import write_document
from bench.gpu_models import MODELS, variants
from bench.gpu_plan import COUNTS, measure_missing, plan
from bench.resuming import read_figures
from bench.speed_models import Setup

FIGURES = "gpu.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models",
        nargs="+",
        choices=MODELS,
        default=list(MODELS),
        metavar="MODEL",
        help=f"some of: {', '.join(MODELS)}",
    )
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing that ends later")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of the page and its figures")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("There is no CUDA here, and the page is of a GPU.")
    memory = torch.cuda.get_device_properties(0).total_memory
    models = {name: variants(MODELS[name], memory) for name in options.models}
    run(options.out, models, COUNTS, options.minutes)


def run(folder: Path, models: dict[str, dict[str, Setup]], lengths: tuple[int, ...], minutes: float) -> None:
    """Measure what is missing, and write the page."""
    with torch.inference_mode():
        figures = read_figures(folder / FIGURES, machine())
        left = measure_missing(list(plan(models, lengths)), figures, folder / FIGURES, minutes)
    write_document(folder, figures)
    if left:
        print(f"{left} parts are left: run it again, with more minutes if none was measured.")


def machine() -> dict[str, str]:
    """What figures depend on."""
    gpu = torch.cuda.is_available()
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    return {
        "engine": identify(SPEED),
        "host": host_version,
        "torch": torch.__version__,
        "card": torch.cuda.get_device_name(0) if gpu else "CPU",
        "driver": subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip() if gpu else "none",
        "override": "SageAttention" if get_attention_function("sage", None) else "the same through a node",
    }


if __name__ == "__main__":
    main()
