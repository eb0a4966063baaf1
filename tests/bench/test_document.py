"""Tables and curves from made-up rows, whose right figures are plain to see."""

import re

import pytest

from bench.methods import FEWER, LAZY, OURS, PUBLISHED
from bench.quality_document import write_document
from bench.records import Row, read_rows
from bench.results import Results, by_target
from bench.tasks import TASKS, TEXT


def row(prompt, method, group, cost, psnr, seed=0, **more):
    """Prompts differ by 10 dB; SSIM and HaarPSI are left alone."""
    values = {"ssim": 0.9, "haarpsi": 0.8, "latent_error": 0.1, "note": ""}
    level = {"a": 0, "b": 10}[prompt]
    fixed = {"sampler": "euler", "target_steps": 28, "steps": 28, "fingerprint": "f", "engine": "e", "host": "0.30.0"}
    given = {"prompt": prompt, "seed": seed, "method": method, "group": group, "cost": cost, "psnr": psnr + level}
    return Row(**{**fixed, **values, **given, **more})


def rows():
    table = [
        ("default", OURS, 0.5, 36.0),
        ("as published", PUBLISHED, 0.6, 29.0),
        ("12 steps", FEWER, 0.4, 30.0),
        ("16 steps", FEWER, 0.6, 34.0),
        ("LazyCache 0.1", LAZY, 0.45, 30.0),
        ("LazyCache 0.2", LAZY, 0.55, 32.0),
    ]
    return [row(prompt, *line) for line in table for prompt in "ab"]


def test_a_method_is_compared_with_both_curves_at_its_own_cost():
    results = Results(rows())
    assert results.difference("default", FEWER, "psnr").mean == pytest.approx(4)
    assert results.difference("default", FEWER, "psnr").half == pytest.approx(0, abs=1e-9)
    assert results.difference("default", LAZY, "psnr").mean == pytest.approx(5)
    assert results.difference("default", FEWER, "ssim").mean == pytest.approx(0)
    assert results.plain_difference("default", "as published", "psnr").mean == pytest.approx(7)


def test_a_pair_without_a_rival_is_left_out_and_counted():
    results = Results([*rows(), row("a", "default", OURS, 0.9, 50.0, seed=1)])
    difference = results.difference("default", FEWER, "psnr")
    assert (difference.mean, difference.count) == (pytest.approx(4), 2)
    assert len(results.pairs) == 3


def test_a_rivals_own_point_is_not_held_against_it():
    assert Results(rows()).difference("12 steps", FEWER, "psnr").count == 0


def test_targets_are_kept_apart():
    mixed = [*rows(), row("a", "default", OURS, 0.4, 20.0, target_steps=50)]
    found = by_target(mixed)
    assert list(found) == [("euler", 28), ("euler", 50)]
    assert found["euler", 50].mean("default", "psnr").mean == 20


def test_the_document_has_tables_curves_and_raw_numbers(tmp_path):
    write_document(tmp_path, rows(), "make it", "bf16")
    text = (tmp_path / "quality.md").read_text(encoding="utf-8")
    assert "    make it\n" in text
    assert "2 prompts, 2 pairs" in text
    assert "| default | 2 | 0.50 | 41.0 | 0.9000 | 0.8000 | 0.100 | +4.0 ± 0.0 |" in text
    assert "| default | 0.50 | +4.0 ± 0.0 | +5.0 ± 0.0 | +7.0 ± 0.0 |" in text
    assert "<!-- quality_findings.md comes here -->" in text
    assert read_rows(tmp_path / "quality.csv") == rows()
    for figure in re.findall(r"\]\((\S+\.svg)\)", text):
        assert "<svg" in (tmp_path / figure).read_text(encoding="utf-8")


def test_rows_of_a_table_have_the_same_number_of_cells(tmp_path):
    write_document(tmp_path, rows(), "make it", "bf16")
    tables = re.findall(r"(?:^\|.*\|\n)+", (tmp_path / "quality.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(tables) == 2
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_findings_come_first_and_are_kept(tmp_path):
    (tmp_path / TEXT.findings).write_text("It is better.\n", encoding="utf-8")
    write_document(tmp_path, rows(), "make it", "bf16")
    assert (tmp_path / "quality.md").read_text(encoding="utf-8").startswith("# Quality against cost\n\nIt is better.\n")
    assert (tmp_path / TEXT.findings).read_text(encoding="utf-8") == "It is better.\n"


def test_the_page_names_engines_and_hosts(tmp_path):
    older = row("a", "default", OURS, 0.5, 36.0, seed=1, engine="other", host="0.3.75")
    write_document(tmp_path, [*rows(), older], "make it", "bf16")
    text = (tmp_path / "quality.md").read_text(encoding="utf-8")
    assert "Engine `e`, `other` (" in text
    assert "ComfyUI 0.3.75 and 0.30.0, torch" in text


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_each_task_has_a_page_of_its_own(tmp_path, task):
    write_document(tmp_path, rows(), "make it", "bf16", task)
    text = (tmp_path / f"{task.name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {task.title}\n")
    assert f"CFG {task.cfg:g}, " in text
    assert read_rows(tmp_path / f"{task.name}.csv") == rows()


def test_the_same_rows_give_the_same_files(tmp_path):
    for name in ("one", "two"):
        write_document(tmp_path / name, rows(), "make it", "bf16")
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
