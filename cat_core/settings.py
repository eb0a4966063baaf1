"""Every knob of CAT Pruning in one validated, immutable value."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

CACHE_DTYPES = ("model", "float32", "float16", "bfloat16", "float8_e4m3fn")
CACHE_DEVICES = ("model", "cpu")

# What each number may be, and why a value outside makes no sense. (lowest, highest, explanation)
_RANGES: dict[str, tuple[float, float, str]] = {
    "keep_ratio": (0, 1, "the share of image tokens computed at a pruned step"),
    "clusters": (1, 1024, "how many regions the image tokens are grouped into"),
    "refresh_interval": (0, 1000, "after how many steps at the latest all tokens are computed again, 0 for never"),
    "pruned_interval": (1, 1000, "at every how many steps between refreshes tokens are computed"),
    "warmup_steps": (0, 1000, "how many steps are computed in full first, 0 for automatic"),
    "cluster_share": (0, 1, "the share of computed tokens given to the clusters that change most"),
    "staleness_decay": (0, 1, "how much of its selection count a token keeps from one step to the next"),
    "position_weight": (0, 100, "the weight of a token's place against its noise when clustering"),
    "final_full_steps": (0, 1000, "how many steps at the end are computed in full"),
    "forecast": (0, 1, "how far uncomputed tokens follow their last trend, 0 holds them"),
    "correction": (0, 1, "how much of a forecast's error is made good when the token is computed again, 0 for nothing"),
    "propagation": (0, 1, "how much other tokens follow the computed tokens of their cluster"),
    "seed": (0, 2**64 - 1, "the seed of the clustering"),
}
_WHOLE = {"clusters", "refresh_interval", "pruned_interval", "warmup_steps", "final_full_steps", "seed"}


@dataclass(frozen=True)
class CATSettings:
    """Knobs of one CAT-pruned model. Raises ``ValueError`` for a value that is not allowed, saying what is.

    Attributes:
        keep_ratio: share of image tokens computed at a pruned step, 0..1 (alpha in arXiv 2502.00433). 0 computes
            nothing between refreshes but tokens under the focus mask, and without one keeps no K/V cache; 1 prunes
            nothing.
        clusters: number of token clusters, 1..1024 (20 in the paper).
        refresh_interval: after warm-up all tokens are computed every this many steps or sooner, spread evenly up to the
            final full steps; 0 never (the paper).
        pruned_interval: between two refreshes every this many steps is pruned, as evenly as it goes, and the others are
            idle: the model is not called, all tokens are forecast. 1 makes all of them pruned (the paper).
        warmup_steps: full steps at the start (t0 in the paper, there 8); 0 chooses from the number of steps.
        cluster_share: share of the computed tokens that goes to the top clusters, 0..1 (section 3.3: 0.25).
        staleness_decay: factor on every token's selection count per step, 0..1 (0.5 in the paper).
        position_weight: weight of row and column (0..1 each) against noise * 0.05 in the clustering features.
        final_full_steps: steps at the end that are always computed in full (0 in the paper).
        forecast: damping of the forecast of uncomputed tokens over sigma: 0 holds their last value (the paper), see
            :func:`cat_core.algorithm.forecast.forecast`.
        correction: share of the forecasts' error that is made good when a token is computed again: 0 nothing (the
            paper), see :class:`cat_core.algorithm.corrector.Corrector`. Samplers that evaluate a step more than once
            are never corrected.
        propagation: share of the mean change of a cluster's computed tokens that its other tokens take over at a pruned
            step, in keys, values and noise: 0 none (the paper).
        cache_dtype: precision of cached keys and values, ``"model"`` keeps the model's.
        cache_device: ``"model"`` keeps caches where the model runs, ``"cpu"`` saves its memory and costs transfers.
        seed: seed of the clustering's first centres.
        focus_mask: optional mask [B or 1, H, W] in 0..1 of any size; tokens under it are computed at every
            pruned step.
    """

    keep_ratio: float = 0.75
    clusters: int = 20
    refresh_interval: int = 5
    pruned_interval: int = 2
    warmup_steps: int = 0
    cluster_share: float = 0.25
    staleness_decay: float = 0.5
    position_weight: float = 1.0
    final_full_steps: int = 2
    forecast: float = 0.7
    correction: float = 1.0
    propagation: float = 1.0
    cache_dtype: str = "model"
    cache_device: str = "model"
    seed: int = 0
    focus_mask: Any = None

    def __post_init__(self) -> None:
        for name, (low, high, meaning) in _RANGES.items():
            value = getattr(self, name)
            kinds = (int,) if name in _WHOLE else (int, float)
            # the comparison is also False for NaN
            if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
                kind = "a whole number" if name in _WHOLE else "a number"
                raise ValueError(f"{name} is {meaning}: it must be {kind} from {low} to {high}, not {value!r}.")
        if self.keep_ratio == 0 and self.refresh_interval == 0:
            raise ValueError(
                "keep_ratio 0 computes nothing between refreshes: refresh_interval must be 1 or more then, not 0."
            )
        for name, allowed in (("cache_dtype", CACHE_DTYPES), ("cache_device", CACHE_DEVICES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}.")

    @property
    def selects_tokens(self) -> bool:
        """Whether pruned steps are wanted; otherwise steps that are not full are idle, which every model can."""
        return self.keep_ratio > 0 or self.focus_mask is not None

    def to_json(self) -> str:
        """All knobs but the focus mask, as one JSON object."""
        return json.dumps({name: getattr(self, name) for name in self._json_names()})

    @classmethod
    def _json_names(cls) -> list[str]:
        return [field.name for field in fields(cls) if field.name != "focus_mask"]

    @classmethod
    def from_json(cls, text: str) -> CATSettings:
        """Inverse of :meth:`to_json`; missing knobs take their defaults, unknown ones raise ``ValueError``."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"CAT settings must be a JSON object: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"CAT settings must be a JSON object, not {type(values).__name__}.")
        known = cls._json_names()
        if unknown := sorted(set(values).difference(known)):
            raise ValueError(f"Unknown CAT settings {', '.join(unknown)}; known are {', '.join(known)}.")
        return cls(**values)


PAPER = CATSettings(
    keep_ratio=0.3,
    refresh_interval=0,
    pruned_interval=1,
    warmup_steps=8,
    final_full_steps=0,
    forecast=0.0,
    correction=0.0,
    propagation=0.0,
)
"""The published setting (arXiv 2502.00433, section 4): 8 warm-up steps, 30 % of tokens, 20 clusters, no refresh."""

PRESETS: dict[str, CATSettings] = {
    "balanced": CATSettings(),
    "quality": CATSettings(keep_ratio=0.0, refresh_interval=2),
    "speed": CATSettings(keep_ratio=0.65, refresh_interval=8, pruned_interval=4, correction=0.5),
    "paper": PAPER,
}
"""Settings for a wish, by name; docs/quality.md has what each of them costs and keeps."""
