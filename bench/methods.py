"""What the quality benchmark compares: CAT Pruning in many settings, and what a user would pick instead.

:data:`PRESETS`, :func:`idle`, :data:`TOKENS`, :data:`LOW` and :data:`OFF` hold settings by name: a new line in one of
them is a new method of the benchmark.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode

from cat_core.host.patcher import attach
from cat_core.settings import PAPER, CATSettings

DEFAULT = CATSettings()
LOW_STEPS = 12
"""Targets of at most this many steps stand for distilled models: there is little to leave out, so fewer methods."""

# Groups. The methods of one group form a cost-quality curve.
OURS, ALONE, BETWEEN = "ours", "refresh and forecast alone", "refresh, forecast and tokens"
ABLATION, PUBLISHED, COMBINED = "one ingredient off", "paper", "with LazyCache"
FEWER, LAZY, EASY = "fewer steps", "LazyCache", "EasyCache"

PRESETS: dict[str, CATSettings] = {"default": DEFAULT}
TOKENS: dict[str, CATSettings] = {
    f"refresh {interval}, {ratio:.0%} between": replace(
        DEFAULT, warmup_steps=4, refresh_interval=interval, keep_ratio=ratio
    )
    for interval, ratio in ((6, 0.3), (4, 0.3), (3, 0.3), (2, 0.3), (2, 0.5))
}
LOW: dict[str, CATSettings] = {
    "refresh 2, nothing between": replace(DEFAULT, warmup_steps=2, refresh_interval=2, keep_ratio=0.0)
}
# Knobs that switch one ingredient of the default settings off.
OFF: dict[str, dict[str, Any]] = {
    "one cluster": {"clusters": 1},
    "staleness only": {"clusters": 1, "cluster_share": 0.0},
    "no staleness": {"cluster_share": 1.0},
    "no forecast": {"forecast": 0.0},
    "no refresh": {"refresh_interval": 0},
    "nothing between refreshes": {"keep_ratio": 0.0},
    "last step not computed": {"final_full_steps": 0},
}
LAZY_THRESHOLDS = (0.05, 0.1, 0.2, 0.4, 0.8)
EASY_THRESHOLDS = (0.2, 1.0)
COMBINED_THRESHOLDS = (0.05, 0.1)
CACHES = {LAZY: LazyCacheNode, EASY: EasyCacheNode}
FEWER_OF_28 = tuple(range(8, 25, 2))


@dataclass(frozen=True)
class Method:
    """One way to sample a picture.

    Attributes:
        name: unique among the methods for one target.
        group: what it is a variant of.
        steps: sampling steps.
        settings: of CAT Pruning; None without it.
        cache: the host's caching node (a key of ``CACHES``) and its reuse threshold; None without one.
    """

    name: str
    group: str
    steps: int
    settings: CATSettings | None = None
    cache: tuple[str, float] | None = None

    def patch(self, model: ModelPatcher) -> ModelPatcher:
        """A clone of ``model`` that samples this way, made by the nodes that a user would connect."""
        model = model.clone() if self.settings is None else attach(model, self.settings)
        if self.cache is None:
            return model
        name, threshold = self.cache
        # the node's own defaults but for the threshold
        output = CACHES[name].execute(
            model=model, reuse_threshold=threshold, start_percent=0.15, end_percent=0.95, verbose=False
        )
        return output.result[0]

    def recipe(self) -> str:
        """All that tells what this method does, as text: a method that changes gets another one."""
        settings = None if self.settings is None else self.settings.to_json()
        return json.dumps([self.steps, settings, self.cache])


def target(steps: int) -> Method:
    """The un-accelerated run that all methods are compared with."""
    return Method("un-accelerated", "target", steps)


def methods(steps: int) -> list[Method]:
    """All methods for a target of ``steps`` steps, in the order of the tables."""
    if steps <= LOW_STEPS:
        return _ours(PRESETS, OURS, steps) + _ours(LOW, ALONE, steps) + _fewer(range(steps // 2, steps), steps)
    scaled = (round(count * steps / 28) for count in FEWER_OF_28)
    return [
        *_ours(PRESETS, OURS, steps),
        *_ours(idle(steps), ALONE, steps),
        *_ours(TOKENS, BETWEEN, steps),
        *_ours({"as published": PAPER}, PUBLISHED, steps),
        *_ours(ablations(), ABLATION, steps),
        *_fewer(scaled, steps),
        *(Method(f"LazyCache {threshold:g}", LAZY, steps, None, (LAZY, threshold)) for threshold in LAZY_THRESHOLDS),
        *(Method(f"EasyCache {threshold:g}", EASY, steps, None, (EASY, threshold)) for threshold in EASY_THRESHOLDS),
        *(
            Method(f"default with LazyCache {threshold:g}", COMBINED, steps, DEFAULT, (LAZY, threshold))
            for threshold in COMBINED_THRESHOLDS
        ),
    ]


def idle(steps: int) -> dict[str, CATSettings]:
    """The default settings with nothing computed between refreshes, from cheap to dear."""
    table = {
        f"refresh {interval}, nothing between": {"warmup_steps": 4, "refresh_interval": interval}
        for interval in (6, 4, 3, 2)
    }
    # every second step is as often as refreshes can be: longer warm-ups continue the curve
    for share in (0.36, 0.57):
        knobs = {"warmup_steps": round(share * steps), "refresh_interval": 2}
        table[f"warm-up {share:.0%}, refresh 2, nothing between"] = knobs
    return {name: replace(DEFAULT, keep_ratio=0.0, **knobs) for name, knobs in table.items()}  # type: ignore[arg-type]


def ablations() -> dict[str, CATSettings]:
    """The default settings with each ingredient off in turn, where the default has it at all."""
    tables = {name: _changed(knobs) for name, knobs in OFF.items()}
    return {name: settings for name, settings in tables.items() if settings is not None and settings != DEFAULT}


def _changed(knobs: dict[str, Any]) -> CATSettings | None:
    try:
        return replace(DEFAULT, **knobs)
    except ValueError:  # what is left would make no sense, say no tokens and no refresh
        return None


def _ours(table: dict[str, CATSettings], group: str, steps: int) -> list[Method]:
    return [Method(name, group, steps, settings) for name, settings in table.items()]


def _fewer(counts: Any, steps: int) -> list[Method]:
    return [Method(f"{count} steps", FEWER, count) for count in counts if count < steps]
