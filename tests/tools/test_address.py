"""Where the repository's address has to be put when it is published: until then OWNER stands in every place."""

import re

from tools.host import ROOT

PLACES = {"README.md": 1, "pyproject.toml": 5}
"""How often each file names the repository."""


def test_the_address_is_a_placeholder_in_every_place():
    """A repository that is public replaces OWNER in PLACES, and in this test."""
    for name, count in PLACES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        assert re.findall(r"[\w.]+\.com/(\S+?)/comfyui-cat-pruning", text) == ["OWNER"] * count, name


def test_no_other_page_names_an_address_of_the_repository():
    pages = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "web").rglob("*.*"),
        *(ROOT / "nodes").glob("*.py"),
    ]
    named = {
        page.name
        for page in pages
        if page.suffix in (".md", ".js", ".py") and "comfyui-cat-pruning" in page.read_text(encoding="utf-8")
    }
    assert named == {"README.md"}
