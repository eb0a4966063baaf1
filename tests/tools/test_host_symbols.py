"""Every symbol and call of the host that the pack's code has is there in the host."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.host import HOST, ROOT

pytestmark = pytest.mark.host
FAULTS = "from comfy.samplers import gone\nfrom comfy.utils import pack_latents\npack_latents([], axis=1)\n"


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """Folder with the host as the checker wants it: as a git repository by the name of ComfyUI."""
    folder = tmp_path_factory.mktemp("clone")
    for part in ("comfy", "comfy_api", "comfy_execution"):
        shutil.copytree(HOST / part, folder / "ComfyUI" / part, ignore=shutil.ignore_patterns("__pycache__"))
    author = ("-c", "user.name=tests", "-c", "user.email=tests@localhost")
    for command in (("init", "-q"), ("add", "-Af", "."), (*author, "commit", "-qm", "host")):
        subprocess.run(("git", *command), cwd=folder / "ComfyUI", check=True)
    return folder


@pytest.fixture
def install(tmp_path):
    """An install with the pack in it."""
    pack = tmp_path / "custom_nodes" / "cat-pruning"
    for part in ("cat_core", "nodes"):
        shutil.copytree(ROOT / part, pack / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "__init__.py", pack)
    return tmp_path


def check(clone, install):
    command = Path(sys.executable).with_name("comfy-import-guard")
    arguments = ("--offline", "--cache-dir", clone, "check", "--comfy-dir", install, "--target", "HEAD", "--no-update")
    return subprocess.run((command, *arguments, "--strict"), capture_output=True, text=True, check=False)


def test_the_host_has_all_that_is_used_of_it(clone, install):
    found = check(clone, install)
    assert found.returncode == 0, found.stdout
    assert "1 safe" in found.stdout


def test_what_is_missing_in_the_host_would_be_found(clone, install):
    with (install / "custom_nodes" / "cat-pruning" / "cat_core" / "host" / "memory.py").open("a") as file:
        file.write(FAULTS)
    found = check(clone, install)
    assert found.returncode == 1
    assert "MISSING  comfy.samplers.gone" in found.stdout
    assert "BADCALL  comfy.utils.pack_latents" in found.stdout
