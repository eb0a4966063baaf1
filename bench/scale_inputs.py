"""What the page on several GPUs is computed from: GPUs, links and models, each with its source."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.speed_large import BUS
from tools.checkpoints import CHECKPOINTS
from tools.family_table import Figures

NVIDIA = "https://www.nvidia.com/en-us/data-center"
FA2 = "[FlashAttention-2](https://arxiv.org/abs/2307.08691): up to 73% on an A100"
FA2_HOPPER = "[FlashAttention-3's authors](https://arxiv.org/abs/2407.08608): FlashAttention-2 reaches 35% of an H100"
FA3 = "[620 TFLOPS at 16384 tokens](https://github.com/pytorch/benchmark/pull/2391)"
L20 = "[cuBLAS reaches 105 to 113 of 119.5](https://github.com/DefTruth/CUDA-Learn-Notes/blob/main/hgemm/README.md)"
RTX = "https://www.itcreations.com/nvidia-gpu/nvidia-rtx-2000-ada-gpu"
NCCL = "[20% go into the protocol](https://github.com/NVIDIA/nccl-tests/issues/212)"
TRT = "https://github.com/NVIDIA/TensorRT-LLM/blob/main/docs/source/blogs/tech_blog/"
TRT += "blog25_Scaling_Video_Generation_Across_NVL72_Rack_with_TensorRT-LLM.md"


@dataclass(frozen=True)
class GPU:
    """A card and what kernels reach on it.

    Attributes:
        peak: operations a second with 16 bit, dense; a multiply-accumulate is two.
        memory: bytes a second.
        capacity: GB of memory.
        linear, attention: share of the peak that matrix products and attention reach, 0 to 1.
        source: of these figures, in Markdown.
    """

    name: str
    peak: float
    memory: float
    capacity: int
    linear: float
    attention: float
    source: str


@dataclass(frozen=True)
class Link:
    """Between the GPUs of one machine.

    Attributes:
        stream: bytes a second that a GPU sends a neighbour, or gathers.
        exchange: the same where all send to all, with the transposition before and behind.
        delay: seconds of one call, however little it sends.
        source: of these figures, in Markdown.
    """

    name: str
    stream: float
    exchange: float
    delay: float
    source: str


BEST = "matrix products: assumed, [the best shape reaches 79%](https://gist.github.com/Chillee/2ec89696db8b7ed1c24461159e325405)"
FA4 = "[FlashAttention-4: 71%](https://deeplearn.org/arxiv/711026)"
H100 = GPU("H100 SXM", 989e12, 3.35e12, 80, 0.7, 0.62, f"[sheet]({NVIDIA}/h100/); {BEST}; FlashAttention-3: {FA3}")
H100_FA2 = replace(H100, name="H100 or H800, FlashAttention-2", attention=0.35, source=FA2_HOPPER)
H200 = replace(H100, name="H200", memory=4.8e12, capacity=141, source=f"[sheet]({NVIDIA}/h200/); else as the H100")
B200 = GPU("B200", 2250e12, 8e12, 192, 0.7, 0.71, f"[sheet]({NVIDIA}/dgx-b200/); matrix products as on the H100; {FA4}")
H20 = GPU("H20", 148e12, 4e12, 96, 0.9, 0.73, "as it is commonly given; shares as the L20, none are published")
L20_CARD = GPU("L20", 119.5e12, 0.864e12, 48, 0.9, 0.73, f"{L20}; {FA2}")
RTX4090 = GPU(
    "RTX 4090",
    165e12,
    1.008e12,
    24,
    0.9,
    0.73,
    "[figures](https://waredb.com/processor/nvidia-geforce-rtx-4090); as L20",
)
RTX2000 = GPU("RTX 2000 Ada", 48e12, 0.224e12, 16, 0.9, 0.73, f"a quarter of [192 for 8 bit, sparse]({RTX}); as L20")
GPUS = (H100, H100_FA2, H200, B200, H20, L20_CARD, RTX4090, RTX2000)

DELAY = 25e-6
_SPLIT = f"all to all: [57 MB in 419 µs at 900 GB/s; two calls more take 43 to 64 µs]({TRT})"


def _nvlink(name: str, line: float, source: str) -> Link:
    return Link(name, 0.82 * line, 0.15 * line, DELAY, source)


NVLINK = _nvlink("NVLink 4", 450e9, f"H100, H200, H20: [450 GB/s each way]({NVIDIA}/h100/); {NCCL}; {_SPLIT}")
NVLINK_H800 = _nvlink("NVLink of the H800", 200e9, "200 GB/s each way, as it is commonly given; as above")
NVLINK5 = _nvlink("NVLink 5", 900e9, "B200: 900 GB/s each way; as above")
PCIE = Link("PCIe 4.0 x16", BUS, BUS, DELAY, "what pinned memory gives; calls as above")
GEFORCE = Link(
    "PCIe 4.0 x16 through system RAM", BUS / 2, BUS / 2, DELAY, "GeForce: no way from card to card, so twice"
)
HALF = Link("PCIe 4.0 x8", BUS / 2, BUS / 2, DELAY, "half of x16")
LINKS = (NVLINK, NVLINK_H800, NVLINK5, PCIE, GEFORCE, HALF)


@dataclass(frozen=True)
class System:
    """What a step is predicted for.

    Attributes:
        weight_bytes: of a number of the weights.
    """

    gpu: GPU
    link: Link
    weight_bytes: int

    @property
    def title(self) -> str:
        """For headings."""
        return f"{self.gpu.name}, {self.link.name}, weights of {8 * self.weight_bytes} bit"


SYSTEMS = (System(H100, NVLINK, 2), System(RTX4090, GEFORCE, 1))


@dataclass(frozen=True)
class Model:
    """A checkpoint at a size.

    Attributes:
        conditionings: that a step computes: two with CFG, one where guidance is distilled.
        steps: of a run, as many as ComfyUI's template has or its authors take.
    """

    name: str
    figures: Figures
    conditionings: int
    steps: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the layers where image tokens attend to each other."""
        return self.figures.cost.joint_widths + self.figures.cost.image_widths

    @property
    def rows(self) -> int:
        """Tokens of all kinds."""
        return self.figures.tokens + self.figures.others


def model(name: str, size: tuple[int, ...], title: str, conditionings: int) -> Model:
    """Of ``tools/checkpoints.py`` at the size of a latent."""
    checkpoint = next(each for each in CHECKPOINTS if each.name == name)
    return Model(title, Figures.of(replace(checkpoint, size=size)), conditionings, checkpoint.steps)


WAN_480 = model("Wan 2.1 14B", (21, 60, 104), "Wan 14B, 832 x 480 x 81", 2)
WAN_720 = model("Wan 2.1 14B", (21, 90, 160), "Wan 14B, 1280 x 720 x 81", 2)
HUNYUAN = model("HunyuanVideo", (33, 90, 160), "HunyuanVideo, 1280 x 720 x 129", 1)
QWEN = model("Qwen-Image", (1, 256, 256), "Qwen-Image, 2048 x 2048", 2)
FLUX2 = model("Flux.2 dev", (64, 64), "Flux.2 dev, 1024 x 1024", 1)
MODELS = (WAN_480, WAN_720, HUNYUAN, QWEN, FLUX2)
