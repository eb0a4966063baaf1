"""Raylight (github.com/komikndr/raylight): every GPU has a worker, a process that keeps a model and samples from it.

Functions that are sent to a worker run on its model. How workers share a run decides what may be left out of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import folder_paths
import torch

from ..settings import CATSettings
from .journal import IDLE_INSTEAD
from .telling import Told, tell_nothing

FILE = "src/raylight/distributed_worker/ray_worker.py"
"""Where a folder of Raylight has what is used here."""
PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of ``cat_core``, from which workers load it."""

_SEQUENCE = "Raylight's workers share the tokens (sequence parallel)"
SHARED = {
    "ulysses_degree": _SEQUENCE,
    "ring_degree": _SEQUENCE,
    "cfg_degree": "Raylight's workers share the conditionings (CFG parallel)",
}
"""Why no worker can choose tokens, by the number of workers that share so. Which steps are idle all of them know."""
APART = "dp_degree"
"""How many runs there are side by side, each a worker's own or shared as above."""

log = logging.getLogger(__name__)


def is_installed() -> bool:
    """Whether Raylight is among the host's node packs, and what it runs on.

    Its folder is looked for: packs are loaded in any order, so Raylight's own may come later.
    """
    packs = (pack for folder in folder_paths.get_folder_paths("custom_nodes") for pack in Path(folder).glob("*"))
    # the host leaves out folders of that name
    there = any((pack / FILE).is_file() for pack in packs if pack.suffix != ".disabled")
    return there and find_spec("ray") is not None


def attach(actors: dict[str, Any], settings: CATSettings | None) -> str:
    """Let the runs of all workers be pruned, as far as their way to share them allows. Returns what was done.

    Args:
        actors: what Raylight's nodes hand on as RAY_ACTORS.
        settings: None for the preset that the model's family names.

    Raises:
        RuntimeError: a worker has ended.
    """
    parallel = _find_parallel(actors)
    if reason := reason_against_all(parallel):
        detach(actors)
        log.warning("CAT Pruning is not attached: %s.", reason)
        return f"Not attached: {reason}."
    reason = reason_against_tokens(parallel)
    knobs = None if settings is None else vars(settings)
    _run(actors["workers"], "model_function_runner", _make_task("attach"), knobs, reason)
    done = f"Attached to {len(actors['workers'])} workers."
    return f"{done} {IDLE_INSTEAD[0].upper()}{IDLE_INSTEAD[1:]}: {reason}." if reason else done


def detach(actors: dict[str, Any]) -> None:
    """Take CAT Pruning off the models of all workers. Raises ``RuntimeError`` if a worker has ended."""
    _run(actors["workers"], "model_function_runner", _make_task("detach"))


def tell(actors: dict[str, Any], latent: torch.Tensor) -> Told:
    """Of the run that made a latent [B, C, (T,) H, W], by the worker that made it; otherwise what the first one knows.

    Raises:
        RuntimeError: a worker has ended.
    """
    if reason := reason_against_all(_find_parallel(actors)):
        return tell_nothing(f"Not attached: {reason}.")
    answers = _run(actors["workers"], "model_function_runner_get_values", _make_task("tell"), latent)
    told = [Told(*answer) for answer in answers]
    return next((one for one in told if one.of_this), told[0])


def reason_against_all(parallel: dict[str, Any]) -> str | None:
    """Why nothing may be left out where workers share runs so, or None.

    Args:
        parallel: Raylight's own description, ``RayWorker.get_parallel_dict``.
    """
    if parallel.get("pipefusion_enabled"):
        return "each of Raylight's workers has other blocks of the model (PipeFusion)"
    known = {*SHARED, APART}
    unknown = sorted(name for name in _list_shared(parallel) if name not in known)
    return f"Raylight's workers share runs in a way that is not known ({', '.join(unknown)})" if unknown else None


def reason_against_tokens(parallel: dict[str, Any]) -> str | None:
    """Why there must be no pruned steps where workers share runs so, or None; ``parallel`` as above."""
    if parallel.get("is_fsdp"):
        # a worker whose picture fails its proof would go on alone, and the others wait for it
        return "Raylight's workers share the weights (FSDP), so that all must compute the same blocks"
    return next((SHARED[name] for name in _list_shared(parallel) if name in SHARED), None)


def _list_shared(parallel: dict[str, Any]) -> list[str]:
    return [name for name, count in parallel.items() if name.endswith("_degree") and (count or 0) > 1]


def _find_parallel(actors: dict[str, Any]) -> dict[str, Any]:
    return _run(actors["workers"][:1], "get_parallel_dict")[0]


def _run(workers: list[Any], method: str, *args: Any) -> list[Any]:
    """Call a method of Raylight's workers, of all at once."""
    import ray

    try:
        return ray.get([getattr(worker, method).remote(*args) for worker in workers])
    except ray.exceptions.RayActorError as error:
        raise RuntimeError(
            "A worker of Raylight has ended. Let Raylight start new ones: change an input of its node Ray Init Actor, "
            "or free ComfyUI's node cache, and queue again."
        ) from error


def _make_task(name: str) -> Callable[..., Any]:
    """A function of ``cat_core.host.worker``, for :func:`_run` to send.

    Ray sends it whole, as it is a local one. It names nothing of this module, which a worker cannot import: packs are
    modules of the host's process alone, named by their place. There it is a package by another name.
    """
    package = str(PACKAGE)

    def task(model: Any, *args: Any) -> Any:
        import sys
        from importlib import import_module
        from pathlib import Path
        from types import ModuleType

        if not Path(package).is_dir():
            raise FileNotFoundError(f"CAT Pruning is not on this worker's machine: there is no {package}.")
        core = "cat_pruning_core"
        sys.modules.setdefault(core, ModuleType(core)).__path__ = [package]
        return getattr(import_module(f"{core}.host.worker"), name)(model, *args)

    return task
