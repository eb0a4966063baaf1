"""What came out of ``bench.speed``, in sentences that are made of its figures."""

from __future__ import annotations

from typing import Any

RIVALS = ("14 steps", "LazyCache 0.2")


def ratio(part: dict[str, Any], one: str, other: str) -> float:
    """Median seconds of one kind over another's."""
    return part["seconds"][one]["median"] / part["seconds"][other]["median"]


def summary(results: dict[str, Any], models: dict[str, str], rows: dict[str, str], quality: dict[str, float]) -> str:
    """The section, in Markdown.

    Args:
        results: of all parts.
        models, rows: titles by the names of parts.
        quality: mean PSNR of the demo model's pictures by method.
    """
    lines = [_runs(results[f"runs/{name}"], title) for name, title in models.items()]
    lines += [_full_steps(results, rows), _own_work(results, models), _equal_time(results["runs/demo"], quality)]
    return "\n".join(["## What came out", "", *lines])


def _runs(part: dict[str, Any], title: str) -> str:
    """Next to what MACs allow."""
    gains = [
        f"*{name}* {1 / ratio(part, name, 'unpatched'):.2f} of {report['ceiling']:.2f}"
        for name, report in part["reports"].items()
    ]
    return f"- **Runs**, {title}: so many times faster than unpatched, of what MACs allow: {', '.join(gains)}."


def _full_steps(results: dict[str, Any], rows: dict[str, str]) -> str:
    found = sorted(ratio(results[f"steps/{name}"], "full", "unpatched") for name in rows)
    return (
        f"- **A full step** takes {found[0]:.3f} to {found[-1]:.3f} of an unpatched one: "
        "below one is how far two measurements of the same lie apart."
    )


def _own_work(results: dict[str, Any], models: dict[str, str]) -> str:
    """Of pruned steps, and the proof."""
    texts = []
    for name, title in models.items():
        part, proof = results[f"parts/{name}"], results[f"proof/{name}"]
        chosen = part["selection"] + part["clustering"]
        texts.append(
            f"{title}: choosing tokens {chosen:.1%} of pruned steps, renewing keys and values "
            f"{part['cache renewal']:.1%}, the proof {proof['seconds'] / proof['run']:.2%} of an unpatched run"
        )
    return f"- **The pack's own work**, {'; '.join(texts)}."


def _equal_time(part: dict[str, Any], quality: dict[str, float]) -> str:
    """Of *balanced* and what a user would take instead."""
    texts = [
        f"{name} {part['seconds'][name]['median']:.2f} s and {quality[name]:.1f} dB" for name in ("balanced", *RIVALS)
    ]
    return f"- **What else the time buys** on the demo model (euler): {', '.join(texts)}."
