"""The table of families is what the code computes."""

from cat_core.host.families.registry import FAMILIES
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
