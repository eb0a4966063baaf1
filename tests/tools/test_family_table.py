"""The table of families is what the code computes, and every family names the hosts it is tested on."""

import sys

from cat_core.host.architecture.registry import FAMILIES
from tools.dev import HOSTS
from tools.family_table import FILE, document
from tools.host import ROOT


def test_the_table_is_up_to_date():
    assert FILE.read_text(encoding="utf-8") == document(), "run: make families"


def test_every_family_has_a_checkpoint_in_it():
    text = document()
    assert [family.name for family in FAMILIES if f"| {family.name} |" not in text] == []


def test_every_family_has_a_line_in_the_readme_with_its_preset():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = [f"| {family.name} | {family.preset} |" for family in FAMILIES]
    assert [line for line in lines if line not in text] == []


def test_every_family_names_the_hosts_it_is_tested_on():
    """From the newest on; the oldest may be without its class."""
    versions = list(HOSTS)
    lines = [f"\nTested on ComfyUI {', '.join(versions[: count + 1])}." for count in range(len(versions))]
    pages = {family.name: sys.modules[type(family).__module__].__doc__ for family in FAMILIES}
    assert [name for name, page in pages.items() if not any(line in page for line in lines)] == []
