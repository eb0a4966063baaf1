"""The archive that the registry hands out, installed as the manager does into a ComfyUI that has nothing else."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tools.host import ROOT
from tools.server import running_server
from tools.workflow import FOLDER, load_api

COMFY = Path(sys.executable).with_name("comfy")
LARGEST = 40 * 2**20
"""Bytes that the archive may have."""
# whatever asks the network gets no answer
OFFLINE = {f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https")} | {"no_proxy": "127.0.0.1"}
QUIET = {"DO_NOT_TRACK": "1"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """What git holds, in a repository of its own."""
    folder = tmp_path_factory.mktemp("pack") / "cat-pruning"
    for name in git("ls-files", cwd=ROOT).splitlines():
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git("init", "--quiet", cwd=folder)
    git("add", "--all", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def archive(repository):
    comfy("pack", cwd=repository)
    return repository / "node.zip"


@pytest.fixture(scope="module")
def server(archive, tmp_path_factory):
    base = tmp_path_factory.mktemp("base")
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(base / "custom_nodes" / "cat-pruning")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in OFFLINE.items():
            patch.setenv(name, value)
        with running_server("--base-directory", str(base)) as running:
            yield running


def git(*arguments, cwd):
    return subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, check=True).stdout


def comfy(command, cwd):
    """The registry's own program."""
    environment = {**os.environ, **OFFLINE, **QUIET}
    command = [str(COMFY), "--skip-prompt", "node", command]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_registrys_checks_pass(repository):
    said = comfy("validate", cwd=repository)
    assert "All validation checks passed" in said
    assert "Warning" not in said


def test_the_archive_holds_what_users_need_and_no_more(archive):
    with zipfile.ZipFile(archive) as packed:
        top = {name.split("/")[0] for name in packed.namelist()}
    code = {"__init__.py", "cat_core", "nodes", "pyproject.toml"}
    shown = {"README.md", "CHANGELOG.md", "LICENSE", "demo", "locales", "subgraphs", "web", "example_workflows"}
    assert top == code | shown
    assert archive.stat().st_size < LARGEST


def test_a_bare_host_starts_with_it_and_runs_the_demo(server):
    info = server.get("/object_info")
    ours = {name for name, node in info.items() if node["python_module"] == "custom_nodes.cat-pruning"}
    assert len(ours) == 5
    assert len(server.get("/workflow_templates")["cat-pruning"]) == len(list(FOLDER.glob("*.json")))
    prompt = load_api(FOLDER / "cat_pruning_demo.json", info)
    for node in prompt.values():
        if node["class_type"] == "EmptySD3LatentImage":
            node["inputs"].update(width=256, height=256)
    (report,) = [output["report"][0] for output in server.run(prompt).values() if "report" in output]
    assert report["steps"]["idle"] == 13


def test_nothing_is_downloaded(server):
    log = server.log.read_text(errors="replace")
    assert "(IMPORT FAILED)" not in log
    assert "127.0.0.1:9" not in log
