"""Stand-ins for Raylight: a worker with the interface that is used of its ``RayWorker``, and its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LATE = "Raylight is loaded behind CAT Pruning:"
LOADED = f"""
import logging

import nodes

NODE_CLASS_MAPPINGS = {{}}
logging.warning("{LATE} %s", "CATPruning" in nodes.NODE_CLASS_MAPPINGS)
"""


class Worker:
    """Keeps a small model and samples from it, in a process that knows the host and nothing of the pack.

    Args:
        parallel: how workers share runs; this one computes all of its own, whatever that says.
    """

    def __init__(self, parallel: dict[str, Any]):
        from comfy.cli_args import args

        args.cpu = True
        args.use_pytorch_cross_attention = True
        import small

        self.parallel, self.sample, self.model = parallel, small.sample, small.small_model()

    def get_parallel_dict(self) -> dict[str, Any]:
        return self.parallel

    def set_parallel_dict(self, parallel: dict[str, Any]) -> None:
        self.parallel = parallel

    def model_function_runner(self, fn: Any, *args: Any, **kwargs: Any) -> None:
        self.model = fn(self.model, *args, **kwargs)

    def model_function_runner_get_values(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        return fn(self.model, *args, **kwargs)

    def common_ksampler(self, noise: Any, **kwargs: Any) -> Any:
        return self.sample(self.model, noise, **kwargs)


def install(folder: Path) -> list[str]:
    """Put a node pack like Raylight's into a folder; a server's options to load it behind all others."""
    source = folder / "packs" / "raylight" / "src" / "raylight" / "distributed_worker"
    source.mkdir(parents=True)
    (source / "ray_worker.py").touch()
    (folder / "packs" / "raylight" / "__init__.py").write_text(LOADED)
    paths = folder / "paths.yaml"
    paths.write_text(json.dumps({"raylight": {"custom_nodes": str(folder / "packs")}}))
    return ["--extra-model-paths-config", str(paths)]
