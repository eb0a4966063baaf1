"""What the demo model needs to be sampled by rivals that do not serve it as it is, each by its own code.

- EasyCache is a node of the host, but hooks a kind of wrapper that the host's SD3 never calls.
- cache-dit (DBCache, TaylorSeer and step masks) works on diffusers' models, see :mod:`bench.rivals_diffusers`.

The packages stay out of the environment that tests and benchmarks share: :data:`INSTALL` puts them into a folder.
Without them, cache-dit is left out.
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from comfy.patcher_extension import WrapperExecutor, WrappersMP, get_all_wrappers

from cat_core.host.architecture import find_family
from cat_core.host.tokens import count_tokens
from tools.host import ROOT

FOLDER = ROOT / ".dev" / "rivals"
INSTALL = "pip install --no-deps --target .dev/rivals -r bench/requirements.txt"
PACKAGES = ("cache_dit", "diffusers")
if FOLDER.is_dir():
    sys.path.insert(0, str(FOLDER))
os.environ.setdefault("CACHE_DIT_LOG_LEVEL", "error")  # it tells of every run


class CallCost:
    """What a full call of a transformer computes."""

    def __init__(self, transformer: torch.nn.Module):
        family = find_family(transformer)
        assert family is not None
        self.cost, self.patch = family.cost(transformer), family.patch(transformer)

    def tokens(self, x: torch.Tensor) -> int:
        """Image tokens of latents [B, C, H, W]."""
        return count_tokens([x], self.patch)

    def count(self, x: torch.Tensor, context: torch.Tensor) -> int:
        """MACs, attention included, for latents [B, C, H, W] and text [B, text tokens, width]."""
        tokens = self.tokens(x)
        return len(x) * self.cost.total(tokens, tokens, context.shape[1])


class Adapter(torch.nn.Module):
    """Stands in the place of the host's transformer for one run, and counts what is computed.

    Attributes:
        macs: multiply-accumulates of all calls, attention included.
    """

    def __init__(self, transformer: Any):
        super().__init__()
        self.cost = CallCost(transformer)
        self.dtype = transformer.dtype  # the host asks for it
        self.macs = 0


class WrappedTransformer(Adapter):
    """The host's transformer, within the wrappers that the host's other families call and its SD3 does not."""

    def __init__(self, transformer: Any):
        super().__init__(transformer)
        self.transformer = transformer

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context=None, y=None, control=None, **kwargs: Any):
        """``x`` [B, C, H, W] and ``context`` [B, text tokens, width], as the host's model calls its transformer."""
        options = kwargs.pop("transformer_options")
        wrappers = get_all_wrappers(WrappersMP.DIFFUSION_MODEL, options)
        executor = WrapperExecutor.new_class_executor(self._compute, self, wrappers)
        # EasyCache adds to its input in place; in half precision that is the host's copy, in float32 the latent itself
        return executor.execute(x.clone(), timesteps, context, y, control, options, **kwargs)

    def _compute(self, x, timesteps, context, y, control, options, **kwargs):
        self.macs += self.cost.count(x, context)
        return self.transformer(x, timesteps, context, y, control, options, **kwargs)


class Rival(ABC):
    """How a rival gets at the model."""

    @abstractmethod
    def adapt(self, transformer: Any, steps: int) -> Adapter:
        """What stands in the place of the host's ``transformer`` for one run of ``steps`` steps."""

    def recipe(self) -> list[str]:
        """All that tells what it does."""
        return [repr(self)]


@dataclass(frozen=True)
class Wrapped(Rival):
    """For the host's own nodes that wrap the transformer."""

    def adapt(self, transformer: Any, steps: int) -> Adapter:
        return WrappedTransformer(transformer)


@dataclass(frozen=True)
class CacheDiT(Rival):
    """Settings of cache-dit, by the names of its documentation.

    Attributes:
        threshold: largest relative change of what the first blocks add (R) at which the others are not computed.
        first: blocks computed at every step (F); none of the last ones is (B0), as is advised with TaylorSeer.
        warmup: steps computed in full at the beginning (W).
        gap: most steps in succession that are not computed (MC); -1 for any number.
        order: of TaylorSeer's forecast; 0 holds what was last computed.
        mask: name of the mask of steps that are always computed (SCM); empty without one.
    """

    threshold: float
    first: int = 1
    warmup: int = 8
    gap: int = -1
    order: int = 0
    mask: str = ""

    @property
    def name(self) -> str:
        """All settings, in cache-dit's short form."""
        parts = {
            f"F{self.first}B0": True,
            f"W{self.warmup}": not self.mask,
            f"MC{self.gap}": self.gap >= 0,
            f"{self.mask} mask": self.mask,
            f"R{self.threshold:g}": True,
            f"TaylorSeer {self.order}": self.order,
        }
        return " ".join(part for part, given in parts.items() if given)

    def adapt(self, transformer: Any, steps: int) -> Adapter:
        from bench.rivals_diffusers import CachedTransformer

        return CachedTransformer(transformer, self, steps)

    def recipe(self) -> list[str]:
        return [*super().recipe(), *map(_version, PACKAGES)]


@cache
def _version(package: str) -> str:
    return f"{package} {version(package)}"


@cache
def is_installed() -> bool:
    """Whether there is all that cache-dit needs."""
    return all(map(find_spec, PACKAGES))


EASY_CACHE = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Thresholds of EasyCache."""
CACHE_DIT = {
    "DBCache": (
        CacheDiT(0.12),
        CacheDiT(0.2),
        *(CacheDiT(threshold, warmup=4) for threshold in (0.12, 0.2, 0.35, 0.6)),
        CacheDiT(0.15, warmup=4, gap=1),
        CacheDiT(0.25, warmup=4, gap=2),
        CacheDiT(0.2, first=2, warmup=4),
    ),
    "DBCache and TaylorSeer": (
        CacheDiT(0.12, order=1),
        CacheDiT(0.2, order=1),
        CacheDiT(0.2, order=2),
        CacheDiT(0.15, gap=1, order=1),
        CacheDiT(0.15, warmup=4, gap=1, order=1),
        CacheDiT(0.25, warmup=4, gap=1, order=1),
        CacheDiT(0.25, warmup=4, gap=2, order=1),
        CacheDiT(0.35, warmup=4, gap=3, order=1),
    ),
    "step masks": (
        CacheDiT(0.15, mask="slow"),
        CacheDiT(0.15, mask="slow", order=1),
        CacheDiT(0.2, mask="medium", order=1),
        CacheDiT(0.2, mask="fast"),
        CacheDiT(0.2, mask="fast", order=1),
        CacheDiT(0.35, mask="ultra", order=1),
    ),
}
"""Settings by what is on. 8 warm-up steps are cache-dit's default, 4 those of its published measurements; the other
settings are theirs or wider, so that costs reach from below a half to above three quarters."""
