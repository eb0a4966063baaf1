"""The benchmark measures what is missing, once, and pairs every picture with its own target."""

import argparse
from dataclasses import replace

import pytest

import bench.measuring
from bench.measuring import Benchmark, choose_pairs
from bench.methods import FEWER, OURS, Method
from cat_core.settings import CATSettings

pytestmark = pytest.mark.usefixtures("as_the_host_runs_nodes")
LINES = [f"prompt {i}" for i in range(64)]
SETTINGS = CATSettings(warmup_steps=1, refresh_interval=2, keep_ratio=0.0)
TABLE = [Method("idle", OURS, 4, SETTINGS), Method("2 steps", FEWER, 2), Method("3 steps", FEWER, 3)]


@pytest.fixture
def table(monkeypatch):
    """Three methods whatever the target; the list may be changed."""
    table = list(TABLE)
    monkeypatch.setattr(bench.measuring, "methods", lambda steps, task, sampler: table)
    return table


def benchmark(folder, pairs=2, engine="this", **options):
    given = {"samplers": ["euler"], "steps": [4], "methods": [""], "side": 16, "matmul": "highest", "task": "quality"}
    given |= {"out": folder, **options}
    return Benchmark(argparse.Namespace(**given), choose_pairs(["owl on blue", "red apple on teal"], pairs, 1), engine)


def missing(run):
    return [(pair.prompt, [method.name for method in wanted]) for pair, _, _, wanted in run.tasks()]


def test_prompts_are_spread_evenly_and_fewer_are_a_part_of_more():
    few, more = choose_pairs(LINES, 16, 1), choose_pairs(LINES, 32, 1)
    assert [pair.prompt for pair in few][:3] == ["prompt 0", "prompt 4", "prompt 8"]
    assert {(pair.prompt, pair.seed) for pair in few} < {(pair.prompt, pair.seed) for pair in more}
    assert len(choose_pairs(LINES, 1000, 1)) == 64


def test_every_pair_has_noise_of_its_own_and_all_prompts_come_before_the_second_seed():
    pairs = choose_pairs(LINES, 32, 2)
    assert len({pair.seed for pair in pairs}) == 64
    assert [pair.prompt for pair in pairs[:32]] == [pair.prompt for pair in pairs[32:]]
    assert [pair.number for pair in pairs] == [*range(32), *range(32)]


def test_all_is_measured_once_and_then_known(tmp_path, table):
    run = benchmark(tmp_path)
    run.run()
    rows = run.counting_rows()
    assert [(row.method, row.prompt) for row in rows] == [
        (method.name, prompt) for method in TABLE for prompt in ("owl on blue", "red apple on teal")
    ]
    assert [row.cost for row in rows if row.method == "2 steps"] == [0.5, 0.5]
    assert all(row.psnr > 5 and 0 < row.latent_error < 2 for row in rows)
    again = benchmark(tmp_path)
    assert missing(again) == []
    again.run()
    assert again.counting_rows() == rows


def test_what_another_method_does_alike_is_sampled_once(tmp_path, table, monkeypatch):
    table.append(Method("the same", FEWER, 4, SETTINGS))
    run = benchmark(tmp_path, pairs=1)
    sampled = []
    measure = run._measure
    monkeypatch.setattr(run, "_measure", lambda *given: sampled.append(given[4].name) or measure(*given))
    run.run()
    assert sampled == ["idle", "2 steps", "3 steps"]
    first, twin = (next(row for row in run.counting_rows() if row.method == name) for name in ("idle", "the same"))
    assert twin == replace(first, method="the same", group=FEWER)


def test_only_what_is_new_or_changed_is_measured(tmp_path, table):
    benchmark(tmp_path, pairs=1).run()
    assert missing(benchmark(tmp_path)) == [("red apple on teal", ["idle", "2 steps", "3 steps"])]
    table[0] = Method("idle", OURS, 4, CATSettings(warmup_steps=1, refresh_interval=3, keep_ratio=0.0))
    changed = benchmark(tmp_path, pairs=1)
    assert missing(changed) == [("owl on blue", ["idle"])]
    assert [row.method for row in changed.counting_rows()] == ["2 steps", "3 steps"]


def test_a_changed_engine_measures_its_own_methods_again(tmp_path, table):
    benchmark(tmp_path, pairs=1).run()
    changed = benchmark(tmp_path, pairs=1, engine="another")
    assert missing(changed) == [("owl on blue", ["idle"])]
    assert [row.method for row in changed.counting_rows()] == ["2 steps", "3 steps"]


def test_another_model_or_precision_measures_all_again(tmp_path, table):
    benchmark(tmp_path, pairs=1).run()
    assert missing(benchmark(tmp_path, pairs=1, matmul="bf16")) == [("owl on blue", ["idle", "2 steps", "3 steps"])]


def test_methods_are_chosen_by_parts_of_group_and_name(tmp_path, table):
    assert missing(benchmark(tmp_path, pairs=1, methods=["fewer", "nothing"])) == [
        ("owl on blue", ["2 steps", "3 steps"])
    ]
    assert missing(benchmark(tmp_path, pairs=1, methods=["idle", "3 st"])) == [("owl on blue", ["idle", "3 steps"])]


def test_a_target_is_sampled_once(tmp_path, table, monkeypatch):
    benchmark(tmp_path, methods=["2 steps"]).run()
    later, sampled = benchmark(tmp_path, methods=["3 steps"]), []
    monkeypatch.setattr(bench.measuring, "target", sampled.append)
    later.run()
    assert [row.method for row in later.counting_rows()] == ["2 steps", "2 steps", "3 steps", "3 steps"]
    assert sampled == []


def test_a_converged_picture_stands_for_all_and_the_full_run_is_one_of_the_methods(tmp_path, monkeypatch):
    task = replace(bench.measuring.TASKS["converged"], converged=5)
    monkeypatch.setitem(bench.measuring.TASKS, "converged", task)
    run = benchmark(tmp_path, pairs=1, task="converged", steps=[8], methods=["target", "fewer", "dpmpp"])
    run.run()
    rows = {row.method: row for row in run.counting_rows()}
    assert rows["un-accelerated"].cost == 1
    assert 5 < rows["un-accelerated"].psnr < 100
    assert rows["6 steps"].cost == rows["6 steps of dpmpp_2m"].cost == 0.75
    assert rows["6 steps"].psnr != rows["6 steps of dpmpp_2m"].psnr
