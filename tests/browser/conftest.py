"""A browser before a real ComfyUI with its own front end."""

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from browser.page import ComfyPage
from tools.server import running_server

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
LOOKS = {"classic": False, "vue": True}
"""How the front end draws nodes: on a canvas, or as "Nodes 2.0"."""


def pytest_addoption(parser):
    parser.addoption("--screenshots", type=Path, default=None, help="folder that pictures of the front end go to")


@pytest.fixture(scope="session")
def server():
    with running_server(metadata=True) as running:
        yield running


@pytest.fixture(scope="session")
def browser():
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.fail(f"No browser: install Chromium, or name one with CHROMIUM. Looked for: {', '.join(BROWSERS)}.")
    with sync_playwright() as playwright:
        options = ["--headless", "--no-sandbox", "--disable-gpu"]
        running = playwright.chromium.launch(executable_path=path, args=options)
        yield running
        running.close()


@pytest.fixture(params=LOOKS)
def comfy(request, server, browser):
    """An open front end of either look."""
    settings = {
        "Comfy.VueNodes.Enabled": LOOKS[request.param],
        "Comfy.TutorialCompleted": True,
        "Comfy.Minimap.Visible": False,
        "LiteGraph.Canvas.MinFontSizeForLOD": 0,  # text on nodes however far away
    }
    server.post("/settings", **settings)
    # what an earlier test computed must be computed again
    server.post("/free", unload_models=True, free_memory=True)
    # pixels of the screen for one of the window, as good screens have them
    scale = 2 if request.node.get_closest_marker("sharp") else 1
    context = browser.new_context(viewport={"width": 1600, "height": 1000}, device_scale_factor=scale)
    yield ComfyPage(context.new_page(), server, request.param, request.config.getoption("--screenshots"))
    context.close()
