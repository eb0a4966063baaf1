"""The table of families is what the code computes."""

from cat_core.host.families.registry import FAMILIES
from tools.family_table import FILE, document


def test_the_table_is_up_to_date():
    assert FILE.read_text(encoding="utf-8") == document(), "run: make families"


def test_every_family_has_a_checkpoint_in_it():
    text = document()
    assert [family.name for family in FAMILIES if f"| {family.name} |" not in text] == []
