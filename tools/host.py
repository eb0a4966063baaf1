"""The ComfyUI that tools, benchmarks and tests work with, imported into this process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tools.dev import DEFAULT, ROOT, host_path

__all__ = ["ALLOCATOR", "HOST", "ROOT", "import_host", "restart_with_allocator"]
HOST = Path(os.environ.get("COMFYUI_PATH") or host_path(DEFAULT))
# Without these, glibc gives large tensors back to the system after every use and half the time goes into page faults.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}


def import_host(cpu: bool = True) -> None:
    """Make ``comfy`` importable, with PyTorch's attention; must run before anything of the host is imported."""
    # the host comes before this repository, whose ``nodes`` would shadow the host's
    sys.path.insert(0, str(HOST))
    sys.path.append(str(ROOT))
    from comfy.cli_args import args

    args.cpu = cpu
    args.use_pytorch_cross_attention = True


def restart_with_allocator() -> None:
    """Start this program again with :data:`ALLOCATOR` in its environment, once."""
    if os.name == "posix" and "MALLOC_MMAP_MAX_" not in os.environ:
        os.execve(sys.executable, [*sys.orig_argv], {**os.environ, **ALLOCATOR})
