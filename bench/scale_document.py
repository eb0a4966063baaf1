"""Writes ``docs/scale.md``: inputs, formulas, what they say, and how far that is from what others measured."""

from __future__ import annotations

from bench import scale_text as text
from bench.scale_inputs import GPU, GPUS, LINKS, MODELS, SYSTEMS, Link, Model, System
from bench.scale_measured import CLOSE, POINTS, Point
from bench.scale_model import (
    CFG,
    CFG_ULYSSES,
    DATA,
    ENGINES,
    FORMULAS,
    WHOLE,
    communication,
    exchanged,
    gathered,
    held,
    with_pack,
)
from bench.tables import table
from tools.host import ROOT

FILE = ROOT / "docs" / "scale.md"
NUMBERS = (1, 2, 4, 8)
"""Of GPUs."""
MANY = NUMBERS[-1]
RUNS = (
    ("One GPU", CFG, 1),
    ("CFG split, 2 GPUs", CFG, 2),
    (f"Data parallel, {MANY} GPUs, each picture", DATA, MANY),
    (f"{CFG_ULYSSES}, {MANY} GPUs", CFG_ULYSSES, MANY),
)
"""(title, engine, GPUs) of whole runs."""
UNFIT = "\\*"
"""Stands behind what does not fit."""
NAMES = {engine: name for name, engine in ENGINES.items()}


def document() -> str:
    """The whole page, in Markdown."""
    parts = [text.OPENING, _findings(), "## Which engine serves what", text.SERVED, *_inputs()]
    parts += ["## Formulas", text.SYMBOLS, "\n".join(f"- **{name}**: {formula}." for name, formula in FORMULAS.items())]
    parts += [*(_steps(system) for system in SYSTEMS), _links(), _caches(), *(_runs(system) for system in SYSTEMS)]
    return "\n\n".join([*parts, _measured()]) + "\n"


def _findings() -> str:
    with_cfg, distilled = (" · ".join(of.name for of in MODELS if of.conditionings == count) for count in (2, 1))
    split = [
        of.name for of in MODELS if not _fits(of, SYSTEMS[0], CFG, 1, True) and _fits(of, SYSTEMS[0], CFG, 2, True)
    ]
    off = [abs(point.off) for point in POINTS]
    lines = [
        f"- **CFG split and CFG parallel** halve a step with two GPUs, and a third does nothing ({with_cfg}). "
        f"Where guidance is distilled they do nothing at all ({distilled}).",
        *(_share(system) for system in SYSTEMS),
        "- **Idle steps** cost neither computing nor communication: of a run they leave the same share with every "
        "engine that has them, on one GPU and on eight. Their gain multiplies the engine's.",
        "- **Pruned steps** save computing where a GPU computes whole calls: on one, with CFG split, data parallel.",
        "- **Caches** stay whole on the GPU of their conditioning, so CFG split halves what a GPU holds. On two "
        f"{SYSTEMS[0].gpu.name} those of {' and '.join(split)} fit beside the weights as float8, on one they do not.",
        f"- **Prediction**: {sum(each <= CLOSE for each in off)} of {len(off)} published times are met within "
        f"{CLOSE:.0%}, the worst is off by {max(off):.0%}.",
    ]
    return "\n".join(["## What comes out", "", *lines])


def _share(system: System) -> str:
    least, *_, most = sorted(MODELS, key=lambda of: communication(of, system, MANY))
    low, high = (f"{communication(of, system, MANY):.0%} ({of.name})" for of in (least, most))
    return f"- **Communication** takes from {low} to {high} of a step with Ulysses on {MANY} {system.gpu.name}."


def _inputs() -> list[str]:
    head = ["Model", "B", "d", "Heads", "Tokens", "Text", "C", "P", "L", "A", "Steps"]
    models = table(head, map(_model, MODELS))
    gpus = table(["GPU", "F", "M", "Memory", "e_l", "e_a", "Source"], map(_gpu, GPUS))
    links = table(["Link", "W", "X", "D", "Source"], map(_link, LINKS))
    return ["## Inputs", text.INPUTS, models, gpus, links]


def _gpu(of: GPU) -> list[str]:
    speeds = [f"{of.peak / 1e12:g} T", f"{of.memory / 1e9:g} GB/s", f"{of.capacity} GB"]
    return [of.name, *speeds, f"{of.linear:g}", f"{of.attention:g}", of.source]


def _link(of: Link) -> list[str]:
    speeds = [f"{of.stream / 1e9:g} GB/s", f"{of.exchange / 1e9:g} GB/s", f"{of.delay * 1e6:g} µs"]
    return [of.name, *speeds, of.source]


def _model(of: Model) -> list[str]:
    figures, (width,) = of.figures, set(of.widths)
    counts = figures.counts(1)
    cells = [of.name, len(of.widths), width, width // 128, figures.tokens, figures.others, of.conditionings]
    cells += [f"{figures.parameters / 1e9:.1f}", f"{figures.cost.linear(*counts) / 1e12:.0f}"]
    return [str(cell) for cell in [*cells, f"{figures.cost.attention(*counts) / 1e12:.0f}", of.steps]]


def _steps(system: System) -> str:
    rows = [
        [each.name, name, *(_marked(each, system, name, gpus) for gpus in NUMBERS)]
        for each in MODELS
        for name in ENGINES
    ]
    head = ["Model", "Engine", *(f"{gpus} GPU{'s' * (gpus > 1)}" for gpus in NUMBERS)]
    return f"## Seconds a step: {system.title}\n\n{_explained(table(head, rows), text.UNFIT_STEP)}"


def _explained(rows: str, mark: str) -> str:
    """With what a mark means, where there is one."""
    return f"{rows}\n\n{mark}" if UNFIT in rows else rows


def _marked(of: Model, system: System, engine: str, gpus: int) -> str:
    return _seconds(ENGINES[engine](of, system, gpus)) + UNFIT * (not _fits(of, system, engine, gpus))


def _fits(of: Model, system: System, engine: str, gpus: int, caches: bool = False) -> bool:
    return held(of, system, engine, gpus, caches) <= 1e9 * system.gpu.capacity


def _links() -> str:
    rows = []
    for each in MODELS:
        cells = [f"{communication(each, system, gpus):.0%}" for system in SYSTEMS for gpus in NUMBERS[1:]]
        cells += [f"{_needed(each, system):.0f} GB/s" for system in SYSTEMS]
        rows.append([each.name, *cells, *(f"{_seconds(gathered(each, system, MANY))} s" for system in SYSTEMS)])
    many = [f"{MANY} {system.gpu.name}" for system in SYSTEMS]
    head = ["Model", *(f"{gpus} {system.gpu.name}" for system in SYSTEMS for gpus in NUMBERS[1:])]
    head += [f"a tenth: {where}" for where in many] + [f"weights: {where}" for where in many]
    return f"## Where communication eats it\n\n{text.LINKS}\n\n{table(head, rows)}"


def _needed(of: Model, system: System) -> float:
    """GB/s all to all with which Ulysses' exchanges take a tenth of the computing, calls left aside."""
    calls = len(of.widths) * 4 * system.link.delay
    bytes_sent = (exchanged(of, system.link, MANY) - calls) * system.link.exchange
    computing = (ENGINES["Ulysses"](of, system, 1) / of.conditionings) / MANY
    return bytes_sent / (0.1 * computing) / 1e9


def _caches() -> str:
    rows = []
    for each in MODELS:
        whole, one = (_sizes(each, count) for count in (each.conditionings, 1))
        weights = each.figures.parameters * 2 / 2**30
        rows.append([each.name, f"{weights:.0f}", f"{weights / MANY:.1f}", whole, one, whole, "none"])
    head = [
        "Model",
        "Weights",
        f"FSDP, {MANY} GPUs",
        "Caches: one GPU",
        "CFG split",
        "Data parallel",
        "CFG or sequence parallel",
    ]
    return f"## Where caches lie\n\n{text.CACHES}\n\n{table(head, rows)}"


def _sizes(of: Model, count: int) -> str:
    return " / ".join(f"{count * of.figures.caches(size) / 2**30:.1f}" for size in (2, 1))


def _runs(system: System) -> str:
    rows = [
        _run(each, system, *way) for each in MODELS for way in RUNS if way[1] != CFG or way[2] <= each.conditionings
    ]
    head = ["Model", "Engine", "without", "*quality*, idle steps", "*balanced*, pruned ones too"]
    title = f"## Seconds a run, and what the pack leaves: {system.title}"
    return f"{title}\n\n{_explained(table(head, rows), text.UNFIT_RUN)}"


def _run(of: Model, system: System, title: str, engine: str, gpus: int) -> list[str]:
    plain = of.steps * ENGINES[engine](of, system, gpus)
    cells = []
    for preset in ("quality", "balanced") if engine in WHOLE else ("quality",):
        seconds, caches = with_pack(of, system, engine, gpus, preset), preset == "balanced"
        mark = UNFIT * (not _fits(of, system, engine, gpus, caches))
        cells.append(f"{_seconds(seconds)} ({plain / seconds:.2f}x){mark}")
    return [of.name, title, _seconds(plain), *cells, *["idle ones"] * (2 - len(cells))]


def _measured() -> str:
    head = ["Model", "On", "Engine", "GPUs", "Measured", "Predicted", "Off", "Why", "Source"]
    rows = table(head, map(_point, POINTS))
    return f"## Predicted and measured\n\n{text.MEASURED.format(close=CLOSE)}\n\n{rows}\n\n{text.LIMITS}"


def _point(point: Point) -> list[str]:
    unit = "{:.2f}x".format if point.speed_up else _seconds
    place = point.place or point.system.gpu.name
    cells = [point.model.name, place, NAMES[point.engine] if point.gpus > 1 else "one GPU", str(point.gpus)]
    return [*cells, unit(point.measured), unit(point.predicted), f"{point.off:+.0%}", point.why, point.source]


def _seconds(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"
