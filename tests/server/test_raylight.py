"""When the host has the nodes for Raylight."""

import folder_paths
import pytest

import raylight
from cat_core.host.raylight import is_installed
from cat_core.settings import PRESETS
from tools.server import running_server

NODES = {"CATPruningRaylight", "CATPruningReportRaylight"}


@pytest.fixture(scope="module")
def info(tmp_path_factory):
    """Of a host that loads Raylight after this pack."""
    pytest.importorskip("ray")
    with running_server(*raylight.install(tmp_path_factory.mktemp("raylight")), "--disable-api-nodes") as server:
        assert f"{raylight.LATE} True" in server.log.read_text(errors="replace")
        yield server.get("/object_info")


def test_beside_raylight_there_are_its_nodes(info):
    assert info.keys() >= NODES
    node, report = info["CATPruningRaylight"], info["CATPruningReportRaylight"]
    assert list(node["input"]["required"]) == ["ray_actors", "enabled", "preset"]
    assert list(node["input"]["optional"]) == ["settings"]
    assert node["input"]["required"]["ray_actors"][0] == "RAY_ACTORS"
    assert node["input"]["required"]["preset"][1]["options"] == ["automatic", *PRESETS]
    assert node["output"] == ["RAY_ACTORS"]
    assert list(report["input"]["required"]) == ["ray_actors", "latent"]
    assert report["output"] == ["LATENT", "STRING", "IMAGE"]
    assert report["output_node"]


@pytest.fixture
def packs(tmp_path, monkeypatch):
    """The folder of node packs, with Raylight's among them."""
    raylight.install(tmp_path)
    folder = tmp_path / "packs"
    (folder / "a_single_file.py").touch()
    monkeypatch.setattr(folder_paths, "get_folder_paths", lambda kind: [str(tmp_path / "missing"), str(folder)])
    monkeypatch.setattr("cat_core.host.raylight.find_spec", lambda name: name)
    return folder


def test_it_is_found_by_what_it_holds(packs):
    assert is_installed()
    (packs / "raylight").rename(packs / "any name")
    assert is_installed()


def test_without_its_folder_or_switched_off_it_is_not_there(packs):
    (packs / "raylight").rename(packs / "raylight.disabled")
    assert not is_installed()
    (packs / "raylight.disabled").rename(packs.parent / "elsewhere")
    assert not is_installed()


def test_without_ray_it_does_not_run(packs, monkeypatch):
    monkeypatch.setattr("cat_core.host.raylight.find_spec", lambda name: None)
    assert not is_installed()
