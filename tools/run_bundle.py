"""Run a part of a bundle on a machine without network: ``python run.py PART [arguments]``.

PART is ``contract`` (the contract tests), ``demo`` (the picture with and without CAT Pruning, into tree/demo/out),
``bench`` (published models on a GPU, into tree/docs/gpu.md), or any module, such as ``pytest``. All run in the folder
``tree`` with this Python and its PyTorch.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
TREE, HOST, WHEELS, SITE = HERE / "tree", HERE / "host", HERE / "wheels", HERE / "site"
PARTS = {"contract": ["pytest", "tests/contract"], "demo": ["tools.demo"], "bench": ["bench.gpu"]}
# What the machine must have, being too large to go along: packages by the name of their import.
WANTED = """torch torchvision torchaudio numpy scipy transformers tokenizers sentencepiece safetensors skimage PIL yaml
aiohttp filelock jinja2 psutil requests tqdm typing_extensions""".split()
STAND_INS = ["av", "comfyui_frontend_package"]


def main() -> int:
    if sys.argv[1:] in ([], ["help"], ["--help"]):
        print(__doc__)
        return 0
    part, *arguments = sys.argv[1:]
    check_machine()
    install()
    environment = {**os.environ, "COMFYUI_PATH": str(HOST), "PYTHONPATH": str(SITE), "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", *PARTS.get(part, [part]), *arguments]
    return subprocess.call(command, cwd=TREE, env=environment)


def check_machine() -> None:
    """Stop where something is missing, and say what."""
    if sys.version_info < (3, 10):  # noqa: UP036  nothing else has checked it here
        sys.exit(f"Python 3.10 or later is needed, this is {sys.version.split()[0]}.")
    missing = [name for name in WANTED if find_spec(name) is None]
    if missing:
        sys.exit(f"{sys.executable} lacks {', '.join(missing)}.")
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU that it sees: on the CPU"
    print(f"PyTorch {torch.__version__}, {device}")


def install() -> None:
    """Make the wheels and the pack importable; what is missing and too large to go along has a stand-in."""
    shutil.rmtree(SITE, ignore_errors=True)
    SITE.mkdir()
    if wheels := list(WHEELS.glob("*.whl")):
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", str(SITE)]
        if subprocess.call([*pip, *map(str, wheels)]):
            sys.exit(f"The wheels do not fit Python {sys.version.split()[0]}: make the bundle with --python for it.")
    for name in STAND_INS:
        if find_spec(name) is None:
            print(f"{name} is missing: a stand-in takes its place")
            shutil.copytree(TREE / "tools" / "stand_ins" / name, SITE / name)
    link = HOST / "custom_nodes" / "cat-pruning"
    link.parent.mkdir(exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(Path("..", "..", "tree"), target_is_directory=True)


if __name__ == "__main__":
    sys.exit(main())
