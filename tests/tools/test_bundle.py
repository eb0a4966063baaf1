"""What a machine without network gets, and what runs there."""

import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from tools import run_bundle
from tools.bundle import DATA, LIMIT, MIB, PICTURES, UNUSED, check_size, clear
from tools.host import HOST, ROOT

ECHO = "import os, sys\nprint(sys.argv[1:], os.getcwd(), os.environ['COMFYUI_PATH'])\n"


def wheel(folder):
    """A wheel whose module says how it was started."""
    about = {
        "METADATA": "Metadata-Version: 2.1\nName: echo-start\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(folder / "echo_start-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("echo_start.py", ECHO)
        for name, text in about.items():
            archive.writestr(f"echo_start-1.0.dist-info/{name}", text)


def python(*arguments, **environment):
    """A fresh process of this Python; pytest's own variables stay behind."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COMFYUI_PATH"))}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env={**kept, **environment}, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle with one wheel, for a machine that has what this one has."""
    wheels, folder = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("bundle")
    wheel(wheels)
    made = python("-m", "tools.bundle", "--folder", folder, "--wheels", wheels, COMFYUI_PATH=str(HOST))
    assert made.returncode == 0, made.stderr
    return folder


def test_it_holds_the_tracked_files_and_what_is_used_of_the_host(bundle):
    """Comes first: what runs in a bundle leaves files of its own."""
    tree, host = bundle / "tree", bundle / "host"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tracked = {name for name in listed.split("\0")[:-1] if not name.startswith(PICTURES)}
    assert {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()} == tracked
    assert not {path.name for path in host.iterdir()} & {*UNUSED}
    assert (host / "comfy" / "model_patcher.py").is_file()
    assert all(path.suffix == ".py" or path.stat().st_size <= DATA for path in host.rglob("*"))


def test_it_leaves_room_for_the_wheels(bundle):
    assert check_size(bundle) < LIMIT - 8 * MIB


def test_a_module_of_a_wheel_runs_in_the_tree_with_the_bundles_host(bundle):
    done = python(bundle / "run.py", "echo_start", "--some", "argument")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"['--some', 'argument'] {bundle / 'tree'} {bundle / 'host'}"


def test_a_contract_test_runs_in_it(bundle):
    done = python(bundle / "run.py", "pytest", "-q", "-p", "no:cacheprovider", "tests/contract/test_registry.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def test_the_parts_are_there(bundle):
    for module, *paths in run_bundle.PARTS.values():
        assert find_spec(module)
        assert all((bundle / "tree" / path).exists() for path in paths)


def test_the_code_that_was_run_says_how_it_ended(bundle):
    assert python(bundle / "run.py", "no_such_module").returncode == 1


def test_what_the_machine_lacks_is_named():
    found = python("-S", ROOT / "tools" / "run_bundle.py", "contract")
    assert found.returncode == 1
    assert "lacks torch, torchvision" in found.stderr


def test_an_old_python_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9))
    with pytest.raises(SystemExit, match=r"Python 3.10 or later is needed"):
        run_bundle.check_machine()


def test_the_host_imports_with_the_stand_ins():
    """As on a machine that lacks the packages they stand in for."""
    code = "from tools.host import import_host; import_host(); import comfy_api.latest, av; print(type(av).__name__)"
    done = python("-c", code, PYTHONPATH=str(ROOT / "tools" / "stand_ins"), COMFYUI_PATH=str(HOST))
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("StandIn\n")


def test_too_large_a_bundle_is_refused_with_its_largest_files(tmp_path):
    for name, size in (("small", 1), ("large", LIMIT)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    with pytest.raises(SystemExit, match=r"60\.0 MiB are more than the 60 .*\n +60\.0 MiB large"):
        check_size(tmp_path)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "letter").touch()
    with pytest.raises(SystemExit, match="is no bundle"):
        clear(tmp_path)
    assert (tmp_path / "letter").exists()


def test_an_earlier_bundle_makes_room(tmp_path):
    for name in ("run.py", "old"):
        (tmp_path / name).touch()
    clear(tmp_path)
    assert list(Path(tmp_path).iterdir()) == []
