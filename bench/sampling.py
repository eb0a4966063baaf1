"""Pictures of the demo model by the host's own nodes, and what each cost."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import numpy as np
import torch
from comfy.patcher_extension import WrappersMP

from bench import second_model
from bench.methods import Method
from bench.rivals import Adapter, CallCost
from bench.selectors import choose_by
from bench.tasks import TEXT, Task
from cat_core.host.demo import DEMO_FILE, DISTILLED_FILE, LATENT_CHANNELS, PIXELS_PER_LATENT, load_demo
from cat_core.host.patcher import last_report
from tools.host import ROOT

host: Any = import_module("nodes")  # the host's nodes.py, which stands before this repository's on the path
SCHEDULER, NEGATIVE = "simple", ""
SOURCE_STEPS, SOURCE_SEED = 20, 50_000
"""Of the pictures that are repainted; the seed is added to the pair's."""
PROMPTS = ROOT / "demo" / "prompts.txt"
MATMUL = {"bf16": "bf16", "highest": "ieee"}


def read_prompts(task: Task, file: Path = PROMPTS) -> list[str]:
    """What pictures are made of: the second model has words of its own."""
    if task.second:
        return second_model.CAPTIONS
    return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


@dataclass(frozen=True)
class Sample:
    """One sampled picture.

    Attributes:
        latent: [1, C, H, W] float32 as the host's KSampler returns it.
        macs: multiply-accumulates of all transformer calls, attention included.
        note: why CAT Pruning ran something in full; empty when all went as planned.
    """

    latent: torch.Tensor
    macs: int
    note: str = ""


class TransformerCalls:
    """Counts the MACs of the calls that reach the model, each as a full one.

    An innermost APPLY_MODEL wrapper, for methods without CAT Pruning: beside a wrapper it does not know there are no
    pruned steps, and its report knows its MACs.
    """

    def __init__(self, transformer: torch.nn.Module):
        self.cost = CallCost(transformer)
        self.macs = 0

    def __call__(
        self, executor: Any, x: torch.Tensor, t: Any, c_concat=None, c_crossattn=None, *rest: Any, **more: Any
    ):
        """``x`` [B, C, H, W] and ``c_crossattn`` [B, text tokens, width], as the host's model gets them."""
        self.macs += self.cost.count(x, c_crossattn)
        return executor(x, t, c_concat, c_crossattn, *rest, **more)


class DemoSampler:
    """The demo model with the host's CLIPTextEncode, KSampler and VAEDecode.

    Args:
        side: of the latents; a latent pixel is 4 x 4 pixels of the picture.
        task: what is sampled.
    """

    def __init__(self, side: int = 64, task: Task = TEXT):
        self.side, self.task = side, task
        # decoded linearly, pictures differ as their latents do
        parts = second_model.load() if task.second else load_demo(distilled=task.distilled, refined=False)
        self.model, self.clip, self.vae = parts
        self.encode = lru_cache(maxsize=None)(self._encode)
        self.begin = lru_cache(maxsize=1)(self._begin)
        comfy.utils.set_progress_bar_enabled(False)

    def _encode(self, prompt: str) -> list:
        return host.CLIPTextEncode().encode(self.clip, prompt)[0]

    @property
    def repainted(self) -> slice:
        """Rows, and columns, of the latent that are repainted: a square in the middle."""
        first = round(self.side * (1 - self.task.repainted**0.5) / 2)
        return slice(first, self.side - first)

    def _begin(self, prompt: str, seed: int) -> dict:
        """The latent that sampling begins with: nothing, or a picture of the same thing and where to repaint it."""
        empty = {"samples": torch.zeros(1, LATENT_CHANNELS, self.side, self.side)}
        if not self.task.repainted:
            return empty
        mask = torch.zeros(1, self.side, self.side)
        mask[:, self.repainted, self.repainted] = 1
        conds, steps = (self.encode(prompt), self.encode(NEGATIVE)), SOURCE_STEPS
        source = host.KSampler().sample(
            self.model, SOURCE_SEED + seed, steps, self.task.cfg, "euler", SCHEDULER, *conds, empty
        )[0]
        return host.SetLatentNoiseMask().set_mask(source, mask)[0]

    def sample(self, method: Method, sampler: str, prompt: str, seed: int) -> Sample:
        """Sample one picture."""
        model = method.patch(self.model)
        transformer = model.get_model_object("diffusion_model")
        adapted = isinstance(transformer, Adapter)
        calls: Adapter | TransformerCalls = transformer if adapted else TransformerCalls(transformer)
        if not method.ours and not adapted:
            # wrappers nest in the order they are added: the last one is next to the model
            model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "calls", calls)
        conds, begin = (self.encode(prompt), self.encode(NEGATIVE)), self.begin(prompt, seed)
        with choose_by(method.selector):
            output = host.KSampler().sample(
                model, seed, method.steps, self.task.cfg, sampler, SCHEDULER, *conds, begin
            )[0]
        if adapted:
            # the host leaves what is patched in place until another clone of the model is loaded
            comfy.model_management.unload_all_models()
        if not method.ours:
            return Sample(output["samples"], calls.macs)
        report = last_report(model)
        assert report is not None
        return Sample(output["samples"], report.macs()[0], "; ".join(report.reasons))

    def picture(self, latent: torch.Tensor) -> np.ndarray:
        """Latent [1, C, H, W] -> picture [4 H, 4 W, 3] float32 in 0..1, or what is repainted of it."""
        picture = host.VAEDecode().decode(self.vae, {"samples": latent})[0][0].float().numpy()
        if not self.task.repainted:
            return picture
        part = slice(self.repainted.start * PIXELS_PER_LATENT, self.repainted.stop * PIXELS_PER_LATENT)
        return picture[part, part]

    def model_latent(self, latent: torch.Tensor) -> torch.Tensor:
        """The latent in the model's own scale, which has no offset: what relative errors are taken of."""
        return self.model.model.process_latent_in(latent)


def set_matmul(mode: str) -> None:
    """Let the CPU's float32 matrix products round their factors to bfloat16 (``bf16``), or not (``highest``)."""
    torch.backends.mkldnn.matmul.fp32_precision = MATMUL[mode]  # type: ignore[attr-defined]


def setup(side: int, matmul: str, task: Task = TEXT) -> str:
    """All that every sample of a benchmark depends on, as text."""
    files = [second_model.FILE] if task.second else [DEMO_FILE, *[DISTILLED_FILE] * task.distilled]
    model = " ".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    return f"{model} {side} {matmul} {task.recipe()} {SCHEDULER} {NEGATIVE!r}"
