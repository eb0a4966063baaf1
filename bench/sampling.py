"""Pictures of the demo model by the host's own nodes, and what each cost."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import comfy.model_management
import comfy.utils
import numpy as np
import torch
from comfy.patcher_extension import WrappersMP

from bench.methods import Method
from bench.rivals import Adapter
from bench.selectors import choose_by
from cat_core.host.architecture import find_family
from cat_core.host.demo import DEMO_FILE, LATENT_CHANNELS, load_demo
from cat_core.host.patcher import last_report

host: Any = import_module("nodes")  # the host's nodes.py, which stands before this repository's on the path
CFG, SCHEDULER, NEGATIVE = 4.0, "simple", ""
MATMUL = {"bf16": "bf16", "highest": "ieee"}


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
    """Counts the calls that reach the model, and the MACs of each as a full call.

    An innermost APPLY_MODEL wrapper, for methods without CAT Pruning: beside a wrapper it does not know there are no
    pruned steps, and its report knows its MACs.
    """

    def __init__(self, transformer: torch.nn.Module):
        family = find_family(transformer)
        assert family is not None
        self.cost, self.patch = family.cost(transformer), family.patch(transformer)[-1]
        self.count = self.macs = 0

    def __call__(
        self, executor: Any, x: torch.Tensor, t: Any, c_concat=None, c_crossattn=None, *rest: Any, **more: Any
    ):
        """``x`` [B, C, H, W] and ``c_crossattn`` [B, text tokens, width], as the host's model gets them."""
        tokens = -(-x.shape[-2] // self.patch) * -(-x.shape[-1] // self.patch)
        self.count += 1
        self.macs += len(x) * self.cost.total(tokens, tokens, c_crossattn.shape[1])
        return executor(x, t, c_concat, c_crossattn, *rest, **more)


class DemoSampler:
    """The demo model with the host's CLIPTextEncode, KSampler and VAEDecode.

    Args:
        side: of the latents; a latent pixel is 4 x 4 pixels of the picture.
    """

    def __init__(self, side: int = 64):
        self.side = side
        self.model, self.clip, self.vae = load_demo()
        self.encode = lru_cache(maxsize=None)(self._encode)
        comfy.utils.set_progress_bar_enabled(False)

    def _encode(self, prompt: str) -> list:
        return host.CLIPTextEncode().encode(self.clip, prompt)[0]

    def sample(self, method: Method, sampler: str, prompt: str, seed: int) -> Sample:
        """Sample one picture."""
        model = method.patch(self.model)
        transformer = model.get_model_object("diffusion_model")
        adapted = isinstance(transformer, Adapter)
        calls: Adapter | TransformerCalls = transformer if adapted else TransformerCalls(transformer)
        if method.settings is None and not adapted:
            # wrappers nest in the order they are added: the last one is next to the model
            model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "calls", calls)
        empty = {"samples": torch.zeros(1, LATENT_CHANNELS, self.side, self.side)}
        conds = self.encode(prompt), self.encode(NEGATIVE)
        with choose_by(method.selector):
            output = host.KSampler().sample(model, seed, method.steps, CFG, sampler, SCHEDULER, *conds, empty)[0]
        if adapted:
            # the host leaves what is patched in place until another clone of the model is loaded
            comfy.model_management.unload_all_models()
        if method.settings is None:
            return Sample(output["samples"], calls.macs)
        report = last_report(model)
        assert report is not None
        return Sample(output["samples"], report.macs()[0], "; ".join(report.reasons))

    def picture(self, latent: torch.Tensor) -> np.ndarray:
        """Latent [1, C, H, W] -> picture [4 H, 4 W, 3] float32 in 0..1."""
        return host.VAEDecode().decode(self.vae, {"samples": latent})[0][0].float().numpy()

    def model_latent(self, latent: torch.Tensor) -> torch.Tensor:
        """The latent in the model's own scale, which has no offset: what relative errors are taken of."""
        return self.model.model.process_latent_in(latent)


def set_matmul(mode: str) -> None:
    """Let the CPU's float32 matrix products round their factors to bfloat16 (``bf16``), or not (``highest``)."""
    torch.backends.mkldnn.matmul.fp32_precision = MATMUL[mode]  # type: ignore[attr-defined]


def setup(side: int, matmul: str) -> str:
    """All that every sample of a benchmark depends on, as text."""
    model = hashlib.sha256(DEMO_FILE.read_bytes()).hexdigest()
    return f"{model} {side} {matmul} {CFG} {SCHEDULER} {NEGATIVE!r}"
