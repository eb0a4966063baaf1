"""The archive that the registry hands out: what is in it, and the ways that bring it into a ComfyUI and out again."""

import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from registry import running_registry
from tools.dev import make_link
from tools.host import HOST, ROOT
from tools.server import running_server
from tools.workflow import FOLDER, load_api

COMFY = Path(sys.executable).with_name("comfy")
PACK = "cat-pruning"
LARGEST = 40 * 2**20
"""Bytes that the archive may have."""
# whatever asks the network gets no answer
OFFLINE = {f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https")} | {"no_proxy": "127.0.0.1"}
MANAGER = ["--enable-manager"] if (HOST / "manager_requirements.txt").exists() else []
"""Starts the host with its manager; older hosts have none of their own."""


@pytest.fixture(scope="module", autouse=True)
def _alone(tmp_path_factory):
    """Nobody hears of the tests, and the settings of who runs them stay as they are."""
    home = str(tmp_path_factory.mktemp("home"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**OFFLINE, "DO_NOT_TRACK": "1", "HOME": home, "USERPROFILE": home}.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """What git holds, in a repository of its own."""
    folder = tmp_path_factory.mktemp("pack") / PACK
    for name in git("ls-files", cwd=ROOT).splitlines():
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git("init", "--quiet", cwd=folder)
    git("add", "--all", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def archive(repository):
    comfy("node", "pack", cwd=repository)
    return repository / "node.zip"


@pytest.fixture
def registry(archive, tmp_path, monkeypatch):
    with running_registry(archive, tmp_path) as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def bare(tmp_path):
    """The host without custom nodes or users. It knows its place by its files, so these are copied."""
    folder = tmp_path / "ComfyUI"
    for name in ("custom_nodes", "user"):
        (folder / name).mkdir(parents=True)
    for path in HOST.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
        elif not (folder / path.name).exists():
            make_link(folder / path.name, path)
    return folder


def git(*arguments, cwd):
    return subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, check=True).stdout


def comfy(*arguments, cwd):
    """The registry's own program."""
    command = [str(COMFY), "--skip-prompt", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def by_command(verb, server, bare, version):
    # the host's list of packs is asked for: a manager that never ran has none yet
    comfy("--workspace", str(bare), "node", verb, "--mode", "remote", PACK, cwd=bare)


def by_click(verb, server, bare, version):
    """What the front end sends where *Install* or *Uninstall* is clicked."""
    pack = {"id": PACK, "version": version, "selected_version": version, "repository": ""}
    sent = {
        "install": {**pack, "channel": "dev", "mode": "cache"},
        "uninstall": {"node_name": PACK, "is_unknown": False},
    }
    server.post("/v2/manager/queue/task", kind=verb, params=sent[verb], ui_id=verb, client_id="test")
    server.post("/v2/manager/queue/start")
    end = time.monotonic() + 120
    while not (done := server.get(f"/v2/manager/queue/history?ui_id={verb}")["history"]):
        assert time.monotonic() < end
        time.sleep(0.2)
    assert done["result"] == "success"


def started(bare):
    return running_server("--base-directory", str(bare), "--user-directory", str(bare / "user"), *MANAGER)


def our_nodes(server):
    return [node for node in server.get("/object_info").values() if node["python_module"] == f"custom_nodes.{PACK}"]


def idle_steps_of_the_demo(server):
    prompt = load_api(FOLDER / "cat_pruning_demo.json", server.get("/object_info"))
    for node in prompt.values():
        if node["class_type"] == "EmptySD3LatentImage":
            node["inputs"].update(width=256, height=256)
    (report,) = [output["report"][0] for output in server.run(prompt).values() if "report" in output]
    return report["steps"]["idle"]


def test_the_registrys_checks_pass(repository):
    said = comfy("node", "validate", cwd=repository)
    assert "All validation checks passed" in said
    assert "Warning" not in said


def test_the_archive_holds_what_users_need_and_no_more(archive):
    with zipfile.ZipFile(archive) as packed:
        top = {name.split("/")[0] for name in packed.namelist()}
    code = {"__init__.py", "cat_core", "nodes", "pyproject.toml"}
    shown = {"README.md", "CHANGELOG.md", "LICENSE", "demo", "locales", "subgraphs", "web", "example_workflows"}
    assert top == code | shown
    assert archive.stat().st_size < LARGEST


@pytest.mark.slow
@pytest.mark.host
@pytest.mark.parametrize("way", [by_click, by_command], ids=lambda way: way.__name__)
def test_installed_it_runs_and_uninstalled_nothing_is_left(way, bare, registry):
    if way is by_click and not MANAGER:
        pytest.skip("this host has no manager")
    with started(bare) as server:
        assert our_nodes(server) == []
        way("install", server, bare, registry.version)
    with started(bare) as server:
        assert len(our_nodes(server)) == 6
        assert len(server.get("/workflow_templates")[PACK]) == len(list(FOLDER.glob("*.json")))
        assert idle_steps_of_the_demo(server) == 13
        assert "(IMPORT FAILED)" not in server.log.read_text(errors="replace")
        way("uninstall", server, bare, registry.version)
    assert [*(bare / "custom_nodes").iterdir()] == []
    assert [path for path in bare.rglob("*") if re.search("cat.?pruning", path.name.lower())] == []
    with started(bare) as server:
        assert our_nodes(server) == []
    assert registry.refused == []
