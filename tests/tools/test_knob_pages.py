"""The pages about the knobs say what the knobs are."""

import re

import pytest

from cat_core.settings import KNOBS
from tools.host import ROOT

TABLE = (ROOT / "docs" / "nodes.md").read_text(encoding="utf-8")
HELP = (ROOT / "web" / "docs" / "CATPruningSettings.md").read_text(encoding="utf-8")
STEPS = "0-3,7,11"
TEXTS = [name for name, knob in KNOBS.items() if knob.default == ""]


def value(knob):
    if knob.default == "":
        return "empty"
    return f"`{knob.default}`" if knob.options else str(knob.default)


def allowed(knob):
    if knob.default == "":
        return f"steps like `{STEPS}`"
    if knob.options:
        return ", ".join(f"`{option}`" for option in knob.options)
    high = "2⁶⁴ \u2212 1" if knob.high == 2**64 - 1 else knob.high
    return f"{knob.low} to {high}" + (f", by {knob.step}" if knob.step else "")


def test_the_pages_have_every_knob_in_the_nodes_order():
    rows = re.findall(r"^\| `(\w+)`(?: \*)? \| \S+ \| ", TABLE.split("## CAT Pruning Settings")[1], re.M)
    assert rows[: len(KNOBS)] == list(KNOBS)
    assert [name for name in re.findall(r"^- \*\*(\w+)\*\*", HELP, re.M) if name in KNOBS] != []
    assert set(KNOBS) <= set(re.findall(r"^- \*\*(\w+)\*\*", HELP, re.M))


@pytest.mark.parametrize("name", KNOBS)
def test_the_table_has_a_knobs_default_and_range_and_who_it_is_for(name):
    knob = KNOBS[name]
    star = " *" if knob.advanced else ""
    assert f"| `{name}`{star} | {value(knob)} | {allowed(knob)} | " in TABLE


@pytest.mark.parametrize("name", [name for name, knob in KNOBS.items() if not knob.options and name != "seed"])
def test_the_help_page_has_a_knobs_default_and_range(name):
    knob = KNOBS[name]
    said = f"{value(knob)}; {allowed(knob)}" if name in TEXTS else f"{knob.default:g}; {knob.low:g} to {knob.high:g}"
    assert f"**{name}** ({said})" in HELP


@pytest.mark.parametrize("name", TEXTS)
def test_the_pages_example_of_a_text_is_the_nodes_and_is_allowed(name):
    KNOBS[name].check(name, STEPS)
    assert f"like {STEPS}:" in KNOBS[name].effect


def test_the_help_page_has_advanced_knobs_behind_the_others():
    often, rarely = HELP.split("Rarely needed:")
    assert [name for name, knob in KNOBS.items() if f"**{name}**" in (often if knob.advanced else rarely)] == []
