"""What the tree does is what docs/engine.json says, and what is published was measured with it."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from bench import engine
from bench.engine import QUALITY, SPEED, identify, read_written, same, version
from bench.quality_document import write_document
from bench.records import read_rows
from bench.tasks import TASKS
from tools.host import ROOT

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def found():
    return engine.measure()


@pytest.mark.parametrize("part", ["tokens", "distances", "operations"])
def test_the_engine_in_the_tree_does_what_is_written_down(found, part):
    written = read_written()[part]
    if part == "operations" and found[part]["on"] != written["on"]:
        pytest.skip(f"operations were counted on {written['on']}")
    assert found[part] == (pytest.approx(written, rel=engine.CLOSE) if part == "distances" else written)
    assert same(part, found, read_written())


def test_two_processes_agree(found):
    lines = ["from tools.host import import_host", "import_host()", "import json", "from bench import engine"]
    code = "\n".join([*lines, "print(json.dumps(engine.measure()))"])
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert json.loads(output.splitlines()[-1]) == found


pages = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


@pages
def test_every_row_of_a_quality_page_is_of_this_engine(task):
    rows = read_rows(DOCS / f"{task.name}.csv")
    assert {row.engine for row in rows} == {"", version(QUALITY)}
    assert f"Engine `{version(QUALITY)}` (" in (DOCS / f"{task.name}.md").read_text(encoding="utf-8")


@pages
def test_a_quality_page_and_its_curves_are_made_of_its_rows_and_findings(tmp_path, task):
    shutil.copy(DOCS / task.findings, tmp_path)
    write_document(tmp_path, read_rows(DOCS / f"{task.name}.csv"), "", "bf16", task)
    made, there = ((folder / f"{task.name}.md").read_text(encoding="utf-8") for folder in (tmp_path, DOCS))
    for part in (0, 2):
        # what lies between says how and when it was measured
        assert re.split(r"\n(?=## How )", made)[part] == re.split(r"\n(?=## How )", there)[part]
    others = tuple(f"{name}_" for name in TASKS if name.startswith(f"{task.name}_"))
    drawn = [{path.name for path in folder.glob(f"{task.name}_*.svg")} for folder in (tmp_path, DOCS)]
    assert drawn[0] == {name for name in drawn[1] if not name.startswith(others)}


def test_the_speed_page_is_of_this_engine_or_has_no_figures():
    page = (DOCS / "speed.md").read_text(encoding="utf-8")
    named = re.findall(r"[Ee]ngine `(\w+)`", page)
    assert named == [version(SPEED)] or (not named and "|" not in page)


def test_an_engine_that_does_the_same_keeps_its_fingerprint(tmp_path, found, monkeypatch):
    file = tmp_path / "engine.json"
    monkeypatch.setattr(engine, "measure", lambda: found)
    before = identify(QUALITY, file), identify(SPEED, file)
    rounded = {run: distance * 1.0005 for run, distance in found["distances"].items()}
    monkeypatch.setattr(engine, "measure", lambda: {**found, "distances": rounded})
    assert (identify(QUALITY, file), identify(SPEED, file)) == before
    assert read_written(file) == found


@pytest.mark.parametrize(
    ("part", "change", "concerned"),
    [
        ("tokens", lambda counts: [*counts[:-1], counts[-1] + 1], (True, True)),
        ("distances", lambda distance: 1.002 * distance, (True, False)),
        ("operations", lambda counts: [*counts[:-1], counts[-1] + 1], (False, True)),
    ],
)
def test_an_engine_that_does_otherwise_has_another_where_it_matters(
    tmp_path, found, monkeypatch, part, change, concerned
):
    file = tmp_path / "engine.json"
    monkeypatch.setattr(engine, "measure", lambda: found)
    before = identify(QUALITY, file), identify(SPEED, file)
    other = {**found, part: {**found[part], "euler, balanced": change(found[part]["euler, balanced"])}}
    monkeypatch.setattr(engine, "measure", lambda: other)
    after = identify(QUALITY, file), identify(SPEED, file)
    assert tuple(one != two for one, two in zip(before, after, strict=True)) == concerned
    assert read_written(file) == other
