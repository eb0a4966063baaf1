"""Gather what tests, demo and benchmarks need on a machine without network, in one small folder: ``make bundle``.

It holds this repository's tracked files but the documents' pictures, the source of ComfyUI, wheels of small packages
and ``run.py``, which is tools/run_bundle.py: it says what the machine itself must have, and runs everything there.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from tools.host import HOST, ROOT

MIB = 2**20
LIMIT = 60 * MIB
PICTURES = "docs/screenshots/"
"""Tracked files that only readers of the documents want."""
# The wheels that go along, in the versions of this environment: what ComfyUI, tests and benchmark import beside the
# packages that tools/run_bundle.py wants from the machine. For any machine, and built for one kind.
PURE = """alembic annotated-types comfy-kitchen einops iniconfig Mako packaging piq pluggy pydantic pydantic-settings
Pygments pytest python-dotenv simpleeval sortedcontainers SQLAlchemy torchsde trampoline typing-inspection""".split()
BUILT = ["blake3", "comfy-aimdo", "hypothesis", "pydantic-core"]
MACHINES = ["manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"]
# What of ComfyUI neither tests nor demo use: its users' files, its own tests, ready graphs, services for money.
UNUSED = """.ci .git .github blueprints comfy_api_nodes custom_nodes input models output script_examples temp tests
tests-unit user web""".split()
DATA = MIB // 4
"""Other files of ComfyUI above this size are tokenizers, which no test and no demo loads."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=ROOT / ".dev" / "bundle", help="where to put it")
    parser.add_argument(
        "--python", default=".".join(platform.python_version_tuple()[:2]), help="version of the machine's Python"
    )
    parser.add_argument("--wheels", type=Path, help="folder with the wheels, in place of the network")
    options = parser.parse_args()
    folder = options.folder.resolve()
    clear(folder)
    shutil.copy(ROOT / "tools" / "run_bundle.py", folder / "run.py")
    copy_tree(folder / "tree")
    copy_host(folder / "host")
    if options.wheels:
        shutil.copytree(options.wheels, folder / "wheels")
    else:
        download(folder / "wheels", options.python)
    print(f"{check_size(folder) / MIB:.1f} MiB in {folder}. There: python run.py")
    return 0


def clear(folder: Path) -> None:
    """Remove an earlier bundle, and nothing else."""
    if folder.exists() and any(folder.iterdir()) and not (folder / "run.py").exists():
        sys.exit(f"{folder} is no bundle and not empty: choose another --folder.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def copy_tree(folder: Path) -> None:
    """The tracked files, as they are now, without the documents' pictures."""
    command = ["git", "ls-files", "-z", "--", ".", f":!{PICTURES}"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in listed.split("\0")[:-1]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)


def copy_host(folder: Path) -> None:
    """ComfyUI without what nothing here uses."""

    def unused(parent: str, names: list[str]) -> set[str]:
        large = {name for name in names if not name.endswith(".py") and (Path(parent) / name).stat().st_size > DATA}
        return large | {"__pycache__"} | (set(UNUSED) if Path(parent) == HOST else set())

    shutil.copytree(HOST, folder, ignore=unused)


def download(folder: Path, python: str) -> None:
    """Fetch the wheels for a version of Python."""
    for names, machines in ((PURE, ["any"]), (BUILT, MACHINES)):
        kind = [argument for machine in machines for argument in ("--platform", machine)]
        wanted = [f"{name}=={version(name)}" for name in names]
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
        command += ["--implementation", "cp", "--python-version", python, *kind, "--dest", str(folder), *wanted]
        if subprocess.call(command):
            sys.exit(f"There are no wheels for Python {python} of {', '.join(wanted)}.")


def check_size(folder: Path) -> int:
    """Bytes of a bundle; too many are an error that names the largest files."""
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    total = sum(sizes.values())
    if total > LIMIT:
        largest = sorted(sizes, key=lambda path: -sizes[path])[:5]
        named = "".join(f"\n  {sizes[path] / MIB:6.1f} MiB {path.relative_to(folder)}" for path in largest)
        sys.exit(f"{total / MIB:.1f} MiB are more than the {LIMIT // MIB} of a bundle. The largest files:{named}")
    return total


if __name__ == "__main__":
    sys.exit(main())
