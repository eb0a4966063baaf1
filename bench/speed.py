"""Seconds of full and pruned steps next to the unpatched model's, at SD3's real width: ``make bench-speed``.

The host's SD3 model with random bf16 weights, cut to a few blocks (steps of all blocks cost alike), samples through the
host's own path with and without CAT Pruning, turn by turn in one process. Every full step of the patched one fills the
caches, every second step is pruned: the dearest schedule there is. Medians over all rounds are compared.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tqdm import tqdm

from tools.host import ROOT, import_host, restart_with_allocator

restart_with_allocator()
import_host(cpu=not torch.cuda.is_available())
import comfy.model_base  # noqa: E402
import comfy.model_management  # noqa: E402
import comfy.model_patcher  # noqa: E402
import comfy.sample  # noqa: E402
import comfy.supported_models  # noqa: E402
from comfy.patcher_extension import WrappersMP  # noqa: E402

from cat_core.host.patcher import attach, last_report  # noqa: E402
from cat_core.settings import CATSettings  # noqa: E402

HEADS, BLOCKS, TEXT_TOKENS, TEXT_WIDTH, POOLED = 24, 4, 154, 4096, 2048
RESULT = ROOT / "docs" / "speed.json"


def sd3_model(blocks: int) -> comfy.model_patcher.ModelPatcher:
    """SD3 medium's transformer (width 64 * 24), its first blocks only."""
    width = 64 * HEADS
    config = comfy.supported_models.SD3(
        {
            "in_channels": 16,
            "patch_size": 2,
            "depth": HEADS,
            "num_blocks": blocks,
            "input_size": None,
            "adm_in_channels": POOLED,
            "context_embedder_config": {
                "target": "torch.nn.Linear",
                "params": {"in_features": TEXT_WIDTH, "out_features": width},
            },
            "pos_embed_max_size": 192,
        }
    )
    config.set_inference_dtype(torch.bfloat16, None)
    model = comfy.model_base.SD3(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in [*model.diffusion_model.parameters(), *model.diffusion_model.buffers()]:
            tensor.copy_(0.02 * torch.randn(tensor.shape, generator=generator))
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=torch.device("cpu"))


class StepClock:
    """Times every evaluation of the sampler, all wrappers included."""

    def __init__(self):
        self.seconds: list[float] = []

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        _wait_for_gpu()
        started = time.perf_counter()
        output = executor(*args, **kwargs)
        _wait_for_gpu()
        self.seconds.append(time.perf_counter() - started)
        return output

    def take(self) -> list[float]:
        """Seconds of all evaluations since the last call."""
        taken, self.seconds = self.seconds, []
        return taken


def _wait_for_gpu() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def conditioning(seed: int) -> list:
    generator = torch.Generator().manual_seed(seed)
    pooled = torch.randn(1, POOLED, generator=generator)
    return [[torch.randn(1, TEXT_TOKENS, TEXT_WIDTH, generator=generator), {"pooled_output": pooled}]]


def run(model: comfy.model_patcher.ModelPatcher, side: int, cfg: float, steps: int) -> None:
    """Sample once."""
    noise = torch.randn(1, 16, side, side, generator=torch.Generator().manual_seed(1))
    empty = torch.zeros_like(noise)
    comfy.sample.sample(
        model, noise, steps, cfg, "euler", "simple", conditioning(1), conditioning(2), empty, disable_pbar=True, seed=1
    )


def measure(options: argparse.Namespace, cfg: float) -> dict[str, float]:
    """Median seconds per step of each kind for one guidance scale."""
    clock = StepClock()
    plain = sd3_model(options.blocks)
    # wrappers nest in the order they are added: the clock is the outermost
    plain.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "clock", clock)
    patched = attach(plain, CATSettings(keep_ratio=options.keep_ratio, warmup_steps=2, refresh_interval=2))
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in tqdm(range(options.rounds), desc=f"cfg {cfg:g}"):
        run(plain, options.side, cfg, 4)
        seconds["unpatched"] += clock.take()[1:]
        run(patched, options.side, cfg, 8)
        report = last_report(patched)
        assert report is not None
        for step, value in list(zip(report.steps, clock.take(), strict=True))[1:]:
            seconds[step.kind].append(value)
    result = {kind: median(values) for kind, values in seconds.items()}
    ratios = {
        f"{one}/{other}": result[one] / result[other] for one, other in (("full", "unpatched"), ("pruned", "full"))
    }
    return {**result, **ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep-ratio", type=float, default=0.3)
    parser.add_argument("--side", type=int, default=128, help="latent side; tokens are (side / 2) squared")
    parser.add_argument("--blocks", type=int, default=BLOCKS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--save", type=Path, nargs="?", const=RESULT, help="write the figures as JSON")
    options = parser.parse_args()
    results = {}
    with torch.inference_mode():
        for cfg in (1.0, 4.0):
            results[f"cfg {cfg:g}"] = figures = measure(options, cfg)
            print(
                f"cfg {cfg:g}: unpatched {figures['unpatched']:.3f} s, full {figures['full']:.3f} s "
                f"({figures['full/unpatched']:.3f} of unpatched), pruned {figures['pruned']:.3f} s "
                f"({figures['pruned/full']:.3f} of full)"
            )
    if options.save:
        setup = {name: getattr(options, name) for name in ("keep_ratio", "side", "blocks", "rounds")}
        options.save.write_text(json.dumps({"torch": torch.__version__, **setup, **results}, indent=1))


if __name__ == "__main__":
    main()
