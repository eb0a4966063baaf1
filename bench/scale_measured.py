"""Times that others have published, next to what the formulas say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.scale_inputs import (
    B200,
    FLUX2,
    H20,
    H100,
    H100_FA2,
    H200,
    HALF,
    HUNYUAN,
    L20_CARD,
    NVLINK,
    NVLINK5,
    NVLINK_H800,
    PCIE,
    QWEN,
    RTX2000,
    SYSTEMS,
    TRT,
    WAN_480,
    WAN_720,
    Model,
    System,
    model,
)
from bench.scale_model import cfg, fsdp, ring, ulysses

CLOSE = 0.25
"""How far off a prediction may be, as a share of what was measured, without a word about why."""
XDIT = "[xDiT](https://github.com/xdit-project/xDiT/blob/main/docs/performance/{}.md)"
OMNI = "[vLLM-Omni](https://github.com/zzhuoxin1508/vllm-omni/blob/429b9a33151ddae94f0180a744f735d811aa6cc5/docs/"
OMNI += "user_guide/diffusion/parallelism_acceleration.md)"
SGLANG = "[SGLang](https://github.com/sgl-project/sglang/pull/{})"
LIGHT = "[LightX2V](https://github.com/xinyiqin/lightx2v/blob/main/docs/EN/source/getting_started/benchmark_source.md)"
RAYLIGHT = "[Raylight](https://github.com/xiangyuT/raylight/blob/main/README.md)"
SPLIT = "[its pull request](https://github.com/Comfy-Org/ComfyUI/pull/7063)"

WHOLE = "a whole run was timed, and decoding does not get faster by more GPUs"
KERNEL = "size and kernel are not published"
MERGE = "attention in pieces, and their merging, are not counted"

FLUX1_1K = model("Flux.1 dev", (128, 128), "Flux.1 dev, 1024 x 1024", 1)
QWEN_1K = model("Qwen-Image", (1, 128, 128), "Qwen-Image, 1024 x 1024", 2)
WAN_80 = model("Wan 2.1 14B", (20, 90, 160), "Wan 14B, 1280 x 720 x 80", 2)
WAN_33 = model("Wan 2.1 14B", (9, 60, 104), "Wan 14B, 832 x 480 x 33", 2)


@dataclass(frozen=True)
class Point:
    """A published measurement.

    Attributes:
        engine: of ``bench.scale_model``.
        measured: seconds a step, or with ``speed_up`` so many times as fast as one GPU.
        why: what makes the prediction miss by more than :data:`CLOSE`; empty where it does not.
        place: in place of the GPU's name.
    """

    model: Model
    system: System
    engine: Callable[[Model, System, int], float]
    gpus: int
    measured: float
    source: str
    why: str = ""
    speed_up: bool = False
    place: str = ""

    @property
    def predicted(self) -> float:
        """In the unit of what was measured."""
        seconds = self.engine(self.model, self.system, self.gpus)
        return cfg(self.model, self.system, 1) / seconds if self.speed_up else seconds

    @property
    def off(self) -> float:
        """What is predicted too much, as a share of what was measured."""
        return self.predicted / self.measured - 1


def _runs(of: Model, system: System, engine: Callable, steps: int, source: str, runs: dict[int, tuple]) -> list[Point]:
    """Points of whole runs: (seconds, why it is off) by GPUs."""
    return [Point(of, system, engine, gpus, run[0] / steps, source, *run[1:]) for gpus, run in runs.items()]


HOPPER, H800 = System(H100_FA2, NVLINK, 2), System(H100_FA2, NVLINK_H800, 2)
XDIT_VIDEO, XDIT_FLUX = XDIT.format("hunyuanvideo"), XDIT.format("flux")
HOPPER_VIDEO = {1: (1904.08,), 2: (925.04,), 4: (514.08,), 8: (337.58, WHOLE)}
H20_VIDEO = {1: (6639.17,), 4: (1762.86,), 8: (940.97, WHOLE)}
OMNI_QWEN = {1: (112.5,), 2: (65.2,), 4: (39.6,), 8: (30.8, WHOLE)}
TWO_H200, AUTO = System(H200, NVLINK, 2), SGLANG.format(22763)
RAY, LARGE = System(RTX2000, HALF, 1), System(B200, NVLINK5, 2)
POINTS = (
    *_runs(HUNYUAN, HOPPER, ulysses, 50, XDIT_VIDEO, HOPPER_VIDEO),
    *_runs(HUNYUAN, System(H20, NVLINK, 2), ulysses, 50, XDIT_VIDEO, H20_VIDEO),
    *_runs(HUNYUAN, System(L20_CARD, PCIE, 2), ulysses, 50, XDIT_VIDEO, {1: (6043.88,), 2: (3271.44,), 4: (2080.05,)}),
    *_runs(QWEN, H800, ulysses, 50, OMNI, OMNI_QWEN),
    *_runs(QWEN_1K, TWO_H200, cfg, 50, AUTO, {2: (7.14,)}),
    *_runs(QWEN_1K, TWO_H200, ulysses, 50, AUTO, {2: (11.21,)}),
    *_runs(FLUX1_1K, HOPPER, ulysses, 28, XDIT_FLUX, {1: (4.30,), 2: (2.68,), 4: (1.63,)}),
    *_runs(FLUX1_1K, HOPPER, ring, 28, XDIT_FLUX, {2: (2.60,), 4: (1.98, MERGE)}),
    Point(FLUX2, System(H100, NVLINK, 2), cfg, 1, 0.4605, SGLANG.format(16055)),
    *_runs(WAN_80, LARGE, cfg, 40, f"[TensorRT-LLM]({TRT})", {1: (342.04,), 2: (179.96,)}),
    *_runs(WAN_80, LARGE, cfg, 40, f"[the same page, elsewhere]({TRT})", {1: (370.8,)}),
    *_runs(WAN_480, TWO_H200, cfg, 40, LIGHT, {1: (366, KERNEL)}),
    *_runs(WAN_720, TWO_H200, cfg, 40, LIGHT, {1: (974,)}),
    Point(WAN_480, SYSTEMS[1], cfg, 2, 15.44 / 8.39, SPLIT, speed_up=True, place="Arc B580"),
    Point(WAN_33, RAY, ulysses, 2, 22 / 11, RAYLIGHT, speed_up=True),
    Point(WAN_33, RAY, fsdp, 2, 22 / 12, RAYLIGHT, speed_up=True),
)
