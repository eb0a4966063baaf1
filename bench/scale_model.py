"""Seconds of a step on several GPUs, from multiply-accumulates, bytes and what links carry.

Symbols and formulas are those of ``docs/scale.md``, which is written from :data:`FORMULAS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.scale_inputs import GPU, Link, Model, System
from cat_core.algorithm.schedule import StepKind
from cat_core.settings import PRESETS
from tools.family_table import plan

PASSES = 40
"""How often a block reads or writes a row of its width outside of matrix products: norms, modulation, rotation, gates,
and the wide middle of its MLP. Counted on paper for a block of Wan, nothing fused."""
LATENT_BYTES = 512
"""Of a token in the latent, at most: 128 numbers of 32 bit."""
FORMULAS = {
    "Linear": "t_l = max(2 L / (F e_l), P b / M): matrix products, or reading the weights where that takes longer",
    "Attention": "t_a = 2 A / (F e_a)",
    "Rest": f"t_r = {PASSES} · B · N · d · 2 / M: each block reads or writes a row of 16 bit {PASSES} times, as "
    "counted for Wan's with nothing fused",
    "One GPU": "T = C (t_l + t_a + t_r)",
    "Answer": f"x = D + {LATENT_BYTES} · N / W: what the model says goes to every GPU",
    "CFG": "T = ⌈C / n⌉ (t_l + t_a + t_r) + x: MultiGPU CFG Split and CFG parallel; at most C GPUs do anything",
    "Data": "T / n for each of n pictures that are made at once; one alone takes T",
    "Ulysses": "T = C ((t_l + t_a + t_r) / n + B (4 D + 8 N d (n - 1) / (n² X))) + x: queries, keys, values and "
    "answers change from rows to heads and back; n must divide the heads",
    "Ring": "T = C ((t_l + t_r) / n + B · max(t_a / (n B), (n - 1) (D + 4 N d / (n W)))) + x: keys and values go round "
    "while attention computes",
    "CFG + Ulysses": "C groups of n / C GPUs, each with Ulysses for one conditioning",
    "FSDP": "Ulysses, and C · P b (n - 1) / (n W) more: every GPU keeps P b / n and gathers the rest at every call. By "
    "itself it saves memory, and no time",
    "Cache": "K = 2 · 2 · (rows and widths of all layers), as [families](families.md) counts them, for one "
    "conditioning",
    "Run": "f · T + p · T_p: full steps, and pruned ones with the L, A and N of the tokens that they compute; "
    "idle steps cost neither computing nor communication",
}


@dataclass(frozen=True)
class Parts:
    """Seconds of one conditioning on one GPU."""

    linear: float
    attention: float
    rest: float

    @property
    def total(self) -> float:
        return self.linear + self.attention + self.rest

    @classmethod
    def of(cls, model: Model, gpu: GPU, weight_bytes: int, keep_ratio: float = 1.0) -> Parts:
        """Of a step that computes a share of the image tokens."""
        figures, counts = model.figures, model.figures.counts(keep_ratio)
        rows = counts[1] + figures.others
        products = 2 * figures.cost.linear(*counts) / (gpu.peak * gpu.linear)
        return cls(
            linear=max(products, figures.parameters * weight_bytes / gpu.memory),
            attention=2 * figures.cost.attention(*counts) / (gpu.peak * gpu.attention),
            rest=PASSES * 2 * rows * sum(model.widths) / gpu.memory,
        )


def answer(model: Model, link: Link, gpus: int) -> float:
    """Seconds until every GPU has the model's answer."""
    return link.delay + LATENT_BYTES * model.figures.tokens / link.stream if gpus > 1 else 0.0


def cfg(model: Model, system: System, gpus: int, keep_ratio: float = 1.0) -> float:
    """Conditionings on GPUs of their own."""
    used = min(gpus, model.conditionings)
    seconds = Parts.of(model, system.gpu, system.weight_bytes, keep_ratio).total
    return -(-model.conditionings // used) * seconds + answer(model, system.link, used)


def data(model: Model, system: System, gpus: int, keep_ratio: float = 1.0) -> float:
    """A picture on every GPU: seconds a step and picture."""
    return cfg(model, system, 1, keep_ratio) / gpus


def ulysses(model: Model, system: System, gpus: int) -> float:
    """Tokens on GPUs of their own, and heads while they attend."""
    one = Parts.of(model, system.gpu, system.weight_bytes).total / gpus + exchanged(model, system.link, gpus)
    return model.conditionings * one + answer(model, system.link, gpus)


def exchanged(model: Model, link: Link, gpus: int) -> float:
    """Seconds of Ulysses' exchanges for one conditioning."""
    if gpus == 1:
        return 0.0
    sent = 8 * model.rows * sum(model.widths) * (gpus - 1) / gpus**2
    return len(model.widths) * 4 * link.delay + sent / link.exchange


def ring(model: Model, system: System, gpus: int) -> float:
    """Tokens on GPUs of their own; keys and values go round."""
    parts, link, blocks = Parts.of(model, system.gpu, system.weight_bytes), system.link, len(model.widths)
    sent = 4 * model.rows * sum(model.widths) / gpus / link.stream
    around = (gpus - 1) * (blocks * link.delay + sent)
    one = (parts.linear + parts.rest) / gpus + max(parts.attention / gpus, around)
    return model.conditionings * one + answer(model, link, gpus)


def cfg_ulysses(model: Model, system: System, gpus: int) -> float:
    """Conditionings on groups of GPUs, which share the tokens."""
    groups = min(gpus, model.conditionings)
    one = ulysses(model, system, gpus // groups) / model.conditionings
    return -(-model.conditionings // groups) * one + answer(model, system.link, groups)


def fsdp(model: Model, system: System, gpus: int) -> float:
    """Ulysses with weights that are gathered at every call."""
    return ulysses(model, system, gpus) + model.conditionings * gathered(model, system, gpus)


def gathered(model: Model, system: System, gpus: int) -> float:
    """Seconds to gather the weights once."""
    return model.figures.parameters * system.weight_bytes * (gpus - 1) / gpus / system.link.stream


CFG, DATA, CFG_ULYSSES = "CFG split or CFG parallel", "Data parallel, each picture", "CFG + Ulysses"
ENGINES: dict[str, Callable[[Model, System, int], float]] = {
    CFG: cfg,
    DATA: data,
    "Ulysses": ulysses,
    "Ring": ring,
    CFG_ULYSSES: cfg_ulysses,
    "Ulysses + FSDP": fsdp,
}
WHOLE: dict[str, Callable[[Model, System, int, float], float]] = {CFG: cfg, DATA: data}
"""Engines whose GPUs compute whole calls: a call of fewer tokens is one of theirs, too."""


def communication(model: Model, system: System, gpus: int) -> float:
    """Share of Ulysses' step that GPUs wait for each other, 0 to 1."""
    waited = model.conditionings * exchanged(model, system.link, gpus) + answer(model, system.link, gpus)
    return waited / ulysses(model, system, gpus)


def with_pack(model: Model, system: System, engine: str, gpus: int, preset: str) -> float:
    """Seconds of a run with a preset of the pack, for pruned steps with an engine of :data:`WHOLE`."""
    kinds, keep_ratio = plan(preset, model.steps), PRESETS[preset].keep_ratio
    seconds = kinds.count(StepKind.FULL) * ENGINES[engine](model, system, gpus)
    if StepKind.PRUNED in kinds:
        seconds += kinds.count(StepKind.PRUNED) * WHOLE[engine](model, system, gpus, keep_ratio)
    return seconds


def held(model: Model, system: System, engine: str, gpus: int, caches: bool = False) -> float:
    """Bytes on every GPU: weights, and keys and values of float8 if asked for; activations are not counted."""
    weights = model.figures.parameters * system.weight_bytes / (gpus if "FSDP" in engine else 1)
    conditionings = -(-model.conditionings // gpus) if engine == CFG else model.conditionings
    return weights + caches * conditionings * model.figures.caches(1)
