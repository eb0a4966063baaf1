"""What a machine without network gets, and what runs there."""

import os
import subprocess
import sys
import zipfile
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import run_bundle
from tools.bundle import BUILT, DATA, LIMIT, MIB, PICTURES, PURE, UNUSED, check_size, clear
from tools.host import HOST, ROOT

STANDARD = ["pip", "setuptools"]
"""What comes with every Python."""
ECHO = "import os, sys\nprint(sys.argv[1:], os.getcwd(), os.environ['COMFYUI_PATH'])\n"


BARE = """
import importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused}:
            raise ModuleNotFoundError(f"this machine has no {{name}}")

sys.meta_path.insert(0, Refuse())
"""


def required(name):
    """Distributions that one needs, itself included, here and now."""
    found, left = set(), [canonicalize_name(name)]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            with suppress(PackageNotFoundError):
                wanted = map(Requirement, requires(name) or ())
                left += [canonicalize_name(each.name) for each in wanted if not each.marker or each.marker.evaluate()]
    return found


def refused():
    """Modules that are here and would not be there: not along, nor wanted from the machine, nor needed by those.

    What has a stand-in is there one way or the other.
    """
    owners = packages_distributions()
    named = [*PURE, *BUILT, *STANDARD, *(owner for module in run_bundle.WANTED for owner in owners[module])]
    there = set[str]().union(*map(required, named))
    extra = {module for module, names in owners.items() if not there & {*map(canonicalize_name, names)}}
    return extra - {*run_bundle.STAND_INS}


def wheel(folder):
    """A wheel whose module says how it was started, on a machine that has no more than a bundle asks for."""
    about = {
        "METADATA": "Metadata-Version: 2.1\nName: echo-start\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(folder / "echo_start-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("echo_start.py", ECHO)
        archive.writestr("sitecustomize.py", BARE.format(refused=refused()))
        for name, text in about.items():
            archive.writestr(f"echo_start-1.0.dist-info/{name}", text)


def python(*arguments, **environment):
    """A fresh process of this Python; pytest's own variables and plugins stay behind."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COMFYUI_PATH"))}
    kept["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
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


@pytest.mark.parametrize("part", [*run_bundle.PARTS])
def test_every_part_starts_with_no_more_than_is_asked_for(bundle, part):
    done = python(bundle / "run.py", part, "--help")
    assert done.returncode == 0, done.stderr
    assert all((bundle / "tree" / path).exists() for path in run_bundle.PARTS[part][1:])


def test_a_package_that_is_not_asked_for_is_not_there(bundle):
    done = python(bundle / "run.py", "matplotlib")
    assert "this machine has no matplotlib" in done.stderr


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
