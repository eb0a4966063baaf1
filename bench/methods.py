"""What the quality benchmark compares: CAT Pruning in many settings, and what a user would pick instead.

:func:`idle`, :data:`TOKENS` and :data:`OFF` hold settings by name: a new line in one of them is a new method of the
benchmark.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode

from bench.rivals import CACHE_DIT, EASY_CACHE, Rival, Wrapped, is_installed
from bench.selectors import SELECTORS
from bench.tasks import RIVALS, SAMPLERS, TEXT, Task
from cat_core.host.patcher import attach
from cat_core.settings import PAPER, PRESETS, CATSettings
from tools.host import ROOT

LOW_STEPS = 12
"""Of targets of at most this many steps there is little to leave out, so fewer methods."""

# Groups. The methods of one group form a cost-quality curve.
OURS, ALONE, BETWEEN = "presets", "refresh and forecast alone", "refresh, forecast and tokens"
ABLATION, KNOBS, PUBLISHED = "balanced, one ingredient off", "balanced, one knob turned", "paper"
FEWER, LAZY, EASY = "fewer steps", "LazyCache", "EasyCache"
OTHERS = "other solvers"
TUNED = "tuned"
TARGET = "target"

AUTOMATIC = "automatic"
"""What the node chooses for a run; the presets are the same for every run."""
BALANCED = PRESETS["balanced"]
TOKENS: dict[str, CATSettings] = {
    "refresh 6, 80 % of tokens every 3rd step": replace(
        BALANCED, keep_ratio=0.8, refresh_interval=6, pruned_interval=3
    ),
    "refresh 4, 80 % of tokens every 2nd step": replace(BALANCED, keep_ratio=0.8, refresh_interval=4),
    "refresh 3, 75 % of tokens every 2nd step": replace(BALANCED, refresh_interval=3),
}
# Knobs that switch one ingredient off.
OFF: dict[str, dict[str, Any]] = {
    "no forecast": {"forecast": 0.0},
    "no correction": {"correction": 0.0},
    "no refresh": {"refresh_interval": 0},
    "2 warm-up steps": {"warmup_steps": 2},
    "last steps not computed": {"final_full_steps": 0},
    "no propagation": {"propagation": 0.0},
    "one cluster": {"clusters": 1},
    "100 clusters": {"clusters": 100},
    "by change alone, no cluster quotas": {"cluster_share": 0.0},
}
# Knobs turned the other ways that a user may try.
TURNED: dict[str, dict[str, Any]] = {
    "keep ratio 0.5": {"keep_ratio": 0.5},
    "keep ratio 0.9": {"keep_ratio": 0.9},
    "refresh interval 3": {"refresh_interval": 3},
    "refresh interval 8": {"refresh_interval": 8},
    "pruned interval 1": {"pruned_interval": 1},
    "pruned interval 4": {"pruned_interval": 4},
    "8 warm-up steps": {"warmup_steps": 8},
    "1 final full step": {"final_full_steps": 1},
    "4 final full steps": {"final_full_steps": 4},
    "cluster share 0.6": {"cluster_share": 0.6},
    "staleness decay 0": {"staleness_decay": 0.0},
    "staleness decay 1": {"staleness_decay": 1.0},
    "position weight 0": {"position_weight": 0.0},
    "position weight 10": {"position_weight": 10.0},
    "forecast 1": {"forecast": 1.0},
    "correction 0.5": {"correction": 0.5},
    "propagation 0.5": {"propagation": 0.5},
    "caches as float8": {"cache_dtype": "float8_e4m3fn"},
}
LAZY_THRESHOLDS = (0.05, 0.1, 0.2)
EASY_THRESHOLDS = (0.2,)
CACHES = {LAZY: LazyCacheNode, EASY: EasyCacheNode}
FEWER_OF_28 = (8, 10, 12, 14, 16, 18, 22)
DETERMINISTIC = ("euler", "dpmpp_2m", "res_multistep", "deis", "ipndm", "uni_pc")
"""Solvers of one and the same equation: what one of them reaches, others may with less."""
TUNED_TO = ("balanced", "speed")
COMPUTED = {28: 14, 20: 10, 12: 8, 8: 6}
"""Steps that *balanced* computes, by the steps of its run."""


@dataclass(frozen=True)
class Method:
    """One way to sample a picture.

    Attributes:
        name: unique among the methods for one target.
        group: what it is a variant of.
        steps: sampling steps.
        settings: of CAT Pruning, or :data:`AUTOMATIC`; None without it.
        cache: the host's caching node (a key of ``CACHES``) and its reuse threshold; None without one.
        selector: what chooses tokens instead of CAT Pruning's own ranking, see :mod:`bench.selectors`.
        rival: what stands in the transformer's place for a rival that does not serve the demo model as it is.
        sampler: another than the target's, or None.
    """

    name: str
    group: str
    steps: int
    settings: CATSettings | str | None = None
    cache: tuple[str, float] | None = None
    selector: str | None = None
    rival: Rival | None = None
    sampler: str | None = None

    @property
    def ours(self) -> bool:
        """Whether it is CAT Pruning."""
        return self.settings is not None

    def patch(self, model: ModelPatcher) -> ModelPatcher:
        """A clone of ``model`` that samples this way, made by the nodes that a user would connect."""
        settings = self.settings if isinstance(self.settings, CATSettings) else None
        model = attach(model, settings) if self.ours else model.clone()
        if self.rival is not None:
            adapter = self.rival.adapt(model.get_model_object("diffusion_model"), self.steps)
            model.add_object_patch("diffusion_model", adapter)
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
        settings = self.settings.to_json() if isinstance(self.settings, CATSettings) else self.settings
        parts: list[Any] = [self.steps, settings, self.cache]
        # what came later is left out where it is not used, so that rows of before still count
        parts += [] if self.selector is None else [self.selector]
        parts += [] if self.rival is None else self.rival.recipe()
        parts += [] if self.sampler is None else [self.sampler]
        return json.dumps(parts)


def target(steps: int) -> Method:
    """The un-accelerated run that all methods are compared with."""
    return Method("un-accelerated", TARGET, steps)


def methods(steps: int, task: Task = TEXT, sampler: str = "euler") -> list[Method]:
    """All methods for a target of ``steps`` steps of a sampler, in the order of the tables."""
    if task.of_solvers or task.tuned:
        return (_solvers if task.of_solvers else _tuned)(steps, task, sampler)
    if steps <= LOW_STEPS:
        return _ours(PRESETS, OURS, steps) + _fewer(range(steps // 2, steps), steps)
    fewer = _fewer((round(count * steps / 28) for count in FEWER_OF_28), steps)
    lazy = [Method(f"LazyCache {threshold:g}", LAZY, steps, None, (LAZY, threshold)) for threshold in LAZY_THRESHOLDS]
    presets = {name: settings for name, settings in PRESETS.items() if settings is not PAPER}
    if task is RIVALS:
        return _ours(presets, OURS, steps) + fewer + lazy + _rivals(steps)
    if task is SAMPLERS:
        return _ours(presets, OURS, steps) + fewer
    if task.repainted:
        return _ours({AUTOMATIC: AUTOMATIC, **presets}, OURS, steps) + _ours(idle(steps), ALONE, steps) + fewer
    return [
        *_ours(presets, OURS, steps),
        *_ours(idle(steps), ALONE, steps),
        *_ours(TOKENS, BETWEEN, steps),
        *_ours({"as published": PAPER}, PUBLISHED, steps),
        *_ours(change_settings(BALANCED, OFF), ABLATION, steps),
        *(Method(name, ABLATION, steps, BALANCED, selector=name) for name in SELECTORS),
        *_ours(change_settings(BALANCED, TURNED), KNOBS, steps),
        *fewer,
        *lazy,
        *(Method(f"EasyCache {threshold:g}", EASY, steps, None, (EASY, threshold)) for threshold in EASY_THRESHOLDS),
    ]


def idle(steps: int) -> dict[str, CATSettings]:
    """Nothing computed between refreshes: together a whole curve, from cheaper than the presets to dearer."""
    base = PRESETS["quality"]
    # over so wide gaps corrections do harm, and few computed steps are best spread evenly
    least = replace(base, warmup_steps=2, final_full_steps=1, correction=0.0)
    table = {f"2 warm-up steps, refresh {interval}": replace(least, refresh_interval=interval) for interval in (5, 4)}
    table |= {f"refresh {interval}": replace(base, refresh_interval=interval) for interval in (4, 3, 2)}
    # every second step is as often as refreshes can be: longer warm-ups continue the curve
    for share in (0.4, 0.65):
        table[f"warm-up {share:.0%}, refresh 2"] = replace(base, warmup_steps=round(share * steps))
    return table


def change_settings(settings: CATSettings, table: dict[str, dict[str, Any]]) -> dict[str, CATSettings]:
    """``settings`` with every change of ``table`` in turn, where that makes sense and changes anything."""
    found = {name: _replace(settings, knobs) for name, knobs in table.items()}
    return {name: other for name, other in found.items() if other is not None and other != settings}


def _replace(settings: CATSettings, knobs: dict[str, Any]) -> CATSettings | None:
    try:
        return replace(settings, **knobs)
    except ValueError:  # what is left would make no sense, say no tokens and no refresh
        return None


def _ours(table: Mapping[str, CATSettings | str], group: str, steps: int) -> list[Method]:
    return [Method(name, group, steps, settings) for name, settings in table.items()]


def _fewer(counts: Any, steps: int) -> list[Method]:
    return [Method(f"{count} steps", FEWER, count) for count in counts if count < steps]


def _solvers(steps: int, task: Task, sampler: str) -> list[Method]:
    """Presets, fewer steps, and as many of other solvers as *balanced* computes."""
    computed = COMPUTED.get(steps, steps // 2)
    short = steps <= LOW_STEPS
    ours = ["quality"] if short else ["quality", "balanced"]  # all presets are the same there
    counts = [computed] if short else [round(count * steps / 28) for count in (10, 14, 18)]
    others = [other for other in DETERMINISTIC if sampler in DETERMINISTIC and other != sampler]
    return [
        *([target(steps)] if task.converged else []),
        *_ours({name: PRESETS[name] for name in ours}, OURS, steps),
        *_fewer(counts, steps),
        *(Method(f"{computed} steps of {other}", OTHERS, computed, sampler=other) for other in others),
    ]


def _tuned(steps: int, task: Task, sampler: str) -> list[Method]:
    """Presets, what was tuned to the cost of each (:mod:`bench.tuning`), and fewer steps."""
    found = read_found(task).get(f"{sampler} {steps}", {})
    return [
        *_ours({name: PRESETS[name] for name in TUNED_TO}, OURS, steps),
        *_ours({f"tuned to {name}": CATSettings(**knobs) for name, knobs in found.items()}, TUNED, steps),
        *_fewer((round(count * steps / 28) for count in FEWER_OF_28[1:5]), steps),
    ]


def found_file(task: Task) -> Path:
    """Where what was tuned for a task is written down."""
    return ROOT / "docs" / f"{task.name}_settings.json"


def read_found(task: Task) -> dict[str, dict[str, dict[str, Any]]]:
    """Knobs that were tuned, by sampler and steps, and by the preset whose cost they may have."""
    file = found_file(task)
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def _rivals(steps: int) -> list[Method]:
    """What needs an adapter, see :mod:`bench.rivals`; without what is not installed."""
    easy = [
        Method(
            f"EasyCache {threshold:g}, wrapped",
            f"{RIVALS.name}/{EASY}",
            steps,
            None,
            (EASY, threshold),
            rival=Wrapped(),
        )
        for threshold in EASY_CACHE
    ]
    tables = CACHE_DIT if is_installed() else {}
    return easy + [
        Method(f"cache-dit {settings.name}", f"{RIVALS.name}/{group}", steps, rival=settings)
        for group, table in tables.items()
        for settings in table
    ]
