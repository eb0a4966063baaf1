"""The tables of families are what the code computes, and every family names the hosts it is tested on."""

import re
import sys

import comfy.supported_models
import pytest

from cat_core.host.architecture.registry import FAMILIES
from tools.checkpoints import CHECKPOINTS, IDLE_ONLY
from tools.dev import HOSTS
from tools.family_table import FILE, Figures, document
from tools.host import ROOT


def test_the_table_is_up_to_date():
    assert FILE.read_text(encoding="utf-8") == document(), "run: make families"


def test_every_family_has_a_checkpoint_in_it():
    text = document()
    assert [family.name for family in FAMILIES if f"| {family.name} |" not in text] == []


def test_a_checkpoint_has_as_many_parameters_as_its_name_says():
    stated = [(one, named) for one in CHECKPOINTS if (named := re.search(r"([\d.]+)B\b", one.name))]
    assert len(stated) >= 10
    for checkpoint, billions in stated:
        found = Figures.of(checkpoint).parameters / 1e9
        assert found == pytest.approx(float(billions[1]), rel=0.2), checkpoint.name


def test_the_second_table_has_classes_of_the_host_that_are_not_in_the_first():
    """That these are all, and are not served, tests/contract/test_every_class.py knows."""
    names = [name for classes in IDLE_ONLY.values() for name in classes]
    assert len(names) == len(set(names))
    assert set(names) <= {model.__name__ for model in comfy.supported_models.models}
    assert not set(names) & {checkpoint.config for checkpoint in CHECKPOINTS}


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
