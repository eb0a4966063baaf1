"""Puts the host on the path before this folder (whose ``nodes`` would shadow the host's) and keeps it on the CPU."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOST = Path(os.environ.get("COMFYUI_PATH") or ROOT / ".dev" / "ComfyUI")

sys.path.insert(0, str(HOST))
sys.path.append(str(ROOT))
sys.path.append(str(ROOT / "tests"))

from comfy.cli_args import args  # noqa: E402

args.cpu = True
args.use_pytorch_cross_attention = True
