"""Every knob of CAT Pruning in one validated, immutable value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any

STEPS = r"\s*|\s*\d{1,4}(\s*-\s*\d{1,4})?(\s*,\s*\d{1,4}(\s*-\s*\d{1,4})?)*\s*"
IDLE_INTERVAL = 2
"""Every other step is computed where nothing is between refreshes: wider gaps cost more than they save."""


@dataclass(frozen=True)
class Knob:
    """All that is shown of a knob, anywhere: in errors, on the node, in the documentation.

    Attributes:
        default: of the same kind as its values.
        meaning: what it is, to go on behind its name and "is".
        effect: what turning it does.
        low, high: what a number may be.
        step: by which the node changes it; 0 for whole numbers.
        options: what a word may be.
        advanced: whether the node shows it on request only: for those who measure.
    """

    default: Any
    meaning: str
    effect: str
    low: float = 0
    high: float = 1
    step: float = 0.05
    options: tuple[str, ...] = ()
    advanced: bool = True

    def check(self, name: str, value: Any) -> None:
        """Raise ``ValueError`` for a value that is not allowed, saying what is."""
        if self.default == "":
            parse_steps(name, value)
            return
        if self.options:
            if value not in self.options:
                raise ValueError(f"{name} must be one of {', '.join(self.options)}, not {value!r}.")
            return
        kinds = (int, float) if self.step else (int,)
        # the comparison is also False for NaN
        if isinstance(value, bool) or not isinstance(value, kinds) or not self.low <= value <= self.high:
            kind = "a number" if self.step else "a whole number"
            raise ValueError(
                f"{name} is {self.meaning}: it must be {kind} from {self.low} to {self.high}, not {value!r}."
            )


def parse_steps(name: str, text: Any) -> tuple[int, ...]:
    """Numbers of steps in words: ``0-3,7`` is (0, 1, 2, 3, 7). Nothing stands for none.

    Raises:
        ValueError: anything else, steps that do not rise, or a first one that is not 0.
    """
    if not isinstance(text, str) or not re.fullmatch(STEPS, text):
        raise ValueError(f"{name} must be like '0-3,7,11', numbers of steps and ranges of them, not {text!r}.")
    steps: list[int] = []
    for part in filter(None, text.replace(" ", "").split(",")):
        first, _, last = part.partition("-")
        named = range(int(first), int(last or first) + 1)
        # looked at part by part: a file from elsewhere may name more steps than memory holds
        if not named or (named[0] <= steps[-1] if steps else named[0] != 0):
            raise ValueError(f"{name} must begin with 0 and rise from step to step, not {text!r}.")
        steps += named
    return tuple(steps)


def name_steps(steps: Iterable[int]) -> str:
    """Rising numbers of steps as ``full_steps`` has them: (0, 1, 2, 7) is ``0-2,7``."""
    parts: list[list[int]] = []
    for step in steps:
        if parts and step == parts[-1][-1] + 1:
            parts[-1].append(step)
        else:
            parts.append([step])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def _knob(default: Any, meaning: str, effect: str, **more: Any) -> Any:
    return field(default=default, metadata={"knob": Knob(default, meaning, effect, **more)})


@dataclass(frozen=True)
class CATSettings:
    """Knobs of one CAT-pruned model, see :data:`KNOBS`. Raises ``ValueError`` for a value that is not allowed.

    Terms of arXiv 2502.00433: ``keep_ratio`` is alpha, ``warmup_steps`` t0; ``cluster_share`` and ``staleness_decay``
    are of section 3.3. ``focus_mask`` is [B or 1, H, W] in 0..1, of any size.
    """

    keep_ratio: float = _knob(
        0.75,
        "the share of image tokens computed at a pruned step",
        "Share of image tokens computed at a pruned step; its cost falls with it. 0: nothing is computed between "
        "refreshes, and no keys and values are kept. 1 prunes nothing.",
        advanced=False,
    )
    clusters: int = _knob(
        20,
        "how many regions the image tokens are grouped into",
        "Regions that the image tokens are grouped into. The regions that change most come first.",
        low=1,
        high=1024,
        step=0,
    )
    refresh_interval: int = _knob(
        5,
        "after how many steps at the latest all tokens are computed again, 0 for never",
        "After warm-up at least every this many steps one step is computed in full. 2 or 3 stay close to the original, "
        "0 never refreshes.",
        high=1000,
        step=0,
        advanced=False,
    )
    pruned_interval: int = _knob(
        2,
        "at every how many steps between refreshes tokens are computed",
        "Between refreshes about every this many steps is a pruned one, at the others nothing is computed. 1: every "
        "step is pruned. Without effect at keep_ratio 0.",
        low=1,
        high=1000,
        step=0,
        advanced=False,
    )
    warmup_steps: int = _knob(
        0,
        "how many steps are computed in full first, 0 for automatic",
        "Steps computed in full first, while the composition forms. 0: automatic, 4; 3 of less than 16 steps, all of "
        "less than 6.",
        high=1000,
        step=0,
        advanced=False,
    )
    cluster_share: float = _knob(
        0.25,
        "the share of computed tokens given to the clusters that change most",
        "Share of the computed tokens given to the clusters that change most; the others are the tokens that were left "
        "out longest.",
    )
    staleness_decay: float = _knob(
        0.5,
        "how much of its selection count a token keeps from one step to the next",
        "Part of its selection count that a token keeps per step. Low: tokens take turns fast.",
    )
    position_weight: float = _knob(
        1.0,
        "the weight of a token's place against its noise when clustering",
        "Weight of a token's place against its content when clusters are formed. High: compact regions; 0: clusters by "
        "content alone.",
        high=100,
        step=0.1,
    )
    final_full_steps: int = _knob(
        2,
        "how many steps at the end are computed in full",
        "Steps computed in full at the end, where details settle. The last is worth most.",
        high=1000,
        step=0,
    )
    forecast: float = _knob(
        0.7,
        "how far uncomputed tokens follow their last trend, 0 holds them",
        "How far tokens that are not computed follow their last trend. 0 holds them still, at 1 they move on by up to "
        "as much as they last did.",
    )
    correction: float = _knob(
        1.0,
        "how much of a forecast's error is made good when the token is computed again, 0 for nothing",
        "How much of a forecast's error is made good when a token is computed again. Less may be better if refreshes "
        "are more than three steps apart.",
    )
    propagation: float = _knob(
        1.0,
        "how much other tokens follow the computed tokens of their cluster",
        "At a pruned step, how much tokens that are not computed follow the computed tokens of their cluster.",
    )
    cache_dtype: str = _knob(
        "model",
        "the precision of kept keys and values",
        "Precision of cached keys and values; 'model' keeps the model's. float8 halves memory.",
        options=("model", "float32", "float16", "bfloat16", "float8_e4m3fn"),
    )
    cache_device: str = _knob(
        "model",
        "where keys and values are kept",
        "Where cached keys and values are kept. 'cpu' frees GPU memory and is slower.",
        options=("model", "cpu"),
    )
    seed: int = _knob(
        0,
        "the seed of the clustering",
        "Seed of the clustering. The picture's own seed is the sampler's.",
        high=2**64 - 1,
        step=0,
    )
    full_steps: str = _knob(
        "",
        "the steps that are computed in full, counted from 0",
        "Which steps are computed in full, like 0-3,7,11: in place of warmup_steps, refresh_interval and "
        "final_full_steps. Empty: those hold.",
    )
    focus_mask: Any = None

    def __post_init__(self) -> None:
        for name, knob in KNOBS.items():
            knob.check(name, getattr(self, name))
        if self.keep_ratio == 0 and self.refresh_interval == 0:
            raise ValueError(
                "keep_ratio 0 computes nothing between refreshes: refresh_interval must be 1 or more then, not 0."
            )

    @property
    def selects_tokens(self) -> bool:
        """Whether pruned steps are wanted; otherwise steps that are not full are idle, which every model can."""
        return 0 < self.keep_ratio < 1 or (self.keep_ratio == 0 and self.focus_mask is not None)

    def without_tokens(self) -> CATSettings:
        """What is used in place of these where tokens cannot be computed by themselves: idle steps, as in quality."""
        interval = min(self.refresh_interval or IDLE_INTERVAL, IDLE_INTERVAL)
        # chosen for steps that are pruned between them
        full_steps = "" if self.selects_tokens else self.full_steps
        return replace(self, keep_ratio=0.0, focus_mask=None, refresh_interval=interval, full_steps=full_steps)

    @property
    def is_chosen(self) -> bool:
        """Whether it is said, not left to the pack, where a run has to be computed in full."""
        return self.warmup_steps > 0 or self.full_steps.strip() != ""

    def to_json(self) -> str:
        """All knobs but the focus mask, as one JSON object."""
        return json.dumps({name: getattr(self, name) for name in KNOBS})


KNOBS: dict[str, Knob] = {one.name: one.metadata["knob"] for one in fields(CATSettings) if one.metadata}
"""All knobs by name, in the order of the node's inputs; the focus mask is none."""


def name_changes(settings: CATSettings, other: CATSettings) -> list[str]:
    """What is other in ``other``, a knob and its value each."""
    changed = {name: getattr(other, name) for name in KNOBS if getattr(settings, name) != getattr(other, name)}
    texts = {name: value or "none" if isinstance(value, str) else f"{value:g}" for name, value in changed.items()}
    changes = [f"{name} {text}" for name, text in texts.items()]
    return changes + ["no focus mask"] * (settings.focus_mask is not None and other.focus_mask is None)


IN_FULL = CATSettings(keep_ratio=1.0)
"""Nothing is left out."""

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
    "quality": CATSettings(keep_ratio=0.0, refresh_interval=IDLE_INTERVAL),
    "speed": CATSettings(keep_ratio=0.65, refresh_interval=8, pruned_interval=4, correction=0.5),
    "paper": PAPER,
}
"""Settings for a wish, by name; docs/quality.md has what each of them costs and keeps."""
