"""The speed benchmark on a small picture of the demo model, and its document from made-up figures."""

import re
from dataclasses import replace

import pytest
import torch

from bench import speed_measuring as measure
from bench.speed_clock import Spread
from bench.speed_document import FINDINGS, MODELS, ROWS, growth, write_document
from bench.speed_models import DEMO, Setup
from bench.speed_summary import ratio
from cat_core.settings import PRESETS

QUALITY = """sampler,target_steps,method,psnr
euler,28,balanced,40
euler,28,balanced,42
euler,28,14 steps,37
euler,28,LazyCache 0.2,33
other,28,balanced,9
"""
TINY = Setup(DEMO, size=(16, 16), cfg=4.0)


@pytest.fixture(autouse=True)
def _as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("name", ["SD3 medium", "PixArt-Sigma", "Flux.1 dev"])
def test_wide_models_keep_their_width_and_have_few_blocks(name):
    setup = Setup(name, blocks=2, size=(64, 64), text=5)
    transformer = setup.model.model.diffusion_model
    assert next(transformer.parameters()).dtype == torch.float32
    blocks = {
        "SD3 medium": lambda: (len(transformer.joint_blocks), transformer.hidden_size),
        "PixArt-Sigma": lambda: (len(transformer.blocks), 1152),
        "Flux.1 dev": lambda: (
            len(transformer.double_blocks) + len(transformer.single_blocks),
            transformer.hidden_size,
        ),
    }
    assert blocks[name]() == (2, {"SD3 medium": 1536, "PixArt-Sigma": 1152, "Flux.1 dev": 3072}[name])
    assert setup.sample(setup.model, 1).isfinite().all()


def test_steps_are_told_apart_by_what_the_report_says():
    found = measure.steps(TINY, measure.alternate([0.3, 0.75]), 1)
    assert set(found["seconds"]) == {"unpatched", "full", "0.3", "0.75"}
    assert 0.3 < found["macs"]["0.3"] < 0.5 < found["macs"]["0.75"] < 1


def test_the_packs_own_work_is_a_share_of_the_steps_it_is_done_in():
    found = measure.parts(TINY, replace(PRESETS["paper"], warmup_steps=3), 8)
    assert found["calls"] == {
        "proof": 1,
        "cache filling": found["calls"]["cache filling"],
        "cache renewal": found["calls"]["cache renewal"],
        "clustering": 1,
        "selection": 5,
        "pruned step": 5,
        "full step": 3,
    }
    assert all(0 < found[part] < 1 for part in ("selection", "clustering", "cache renewal", "cache filling"))


def test_a_proof_is_a_small_share_of_a_run():
    found = measure.proof(TINY, 28, 1)
    assert 0 < found["seconds"] < found["run"]


def test_whole_runs_of_every_way():
    found = measure.whole_runs(TINY, 16, ["balanced", "LazyCache 0.2", "8 steps"], 1)
    assert set(found["seconds"]) == {"unpatched", "balanced", "LazyCache 0.2", "8 steps"}
    assert found["reports"]["balanced"]["ceiling"] > 1
    assert set(found["reports"]) == {"balanced"}


def test_a_spread_has_median_and_quartiles():
    assert Spread.of([5.0, 1.0, 3.0, 2.0, 4.0]) == Spread(3.0, 2.0, 4.0)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0)


def spread(value):
    return {"median": value, "low": value, "high": value}


def made_up():
    steps = {"seconds": {"unpatched": spread(2.0), "full": spread(2.02), "0.3": spread(0.808)}, "macs": {"0.3": 0.36}}
    runs = {
        "seconds": {
            "unpatched": spread(20.0),
            "balanced": spread(11.0),
            "14 steps": spread(10.0),
            "LazyCache 0.2": spread(12.0),
        },
        "reports": {"balanced": {"ceiling": 2.0, "cache_bytes": 2**20}},
    }
    parts = {"selection": 0.01, "clustering": 0.02, "cache renewal": 0.03, "cache filling": 0.04}
    results = {"machine": {"engine": "abc", "host": "1", "torch": "2", "threads": 2, "rounds": 2}}
    results |= {f"steps/{name}": steps for name in ROWS}
    for model in MODELS:
        results |= {f"parts/{model}": parts, f"runs/{model}": runs, f"proof/{model}": {"seconds": 0.5, "run": 50.0}}
    results |= {f"peak/{preset}": {"bytes": 2**30} for preset in ("unpatched", "balanced")}
    results |= {f"growth/{axis}/{value}": steps for axis in ("tokens", "blocks", "batch") for value in (1, 2)}
    for kept in (0.25, 0.5, 1.0):
        seconds = {"full": spread(2.0), f"{kept:g}": spread(2 * (0.1 + 0.9 * kept))}
        results[f"growth/keep ratio/{kept:g}"] = {"seconds": seconds, "macs": {f"{kept:g}": kept}}
    return results


def test_the_document_has_ratios_that_are_plain_to_see(tmp_path):
    (tmp_path / "quality.csv").write_text(QUALITY)
    (tmp_path / FINDINGS).write_text("What is left.")
    write_document(tmp_path, made_up())
    text = (tmp_path / "speed.md").read_text()
    assert "What is left." in text
    assert "*balanced* 1.82 of 2.00" in text
    assert "takes 1.010 to 1.010 of an unpatched one" in text
    assert "choosing tokens 3.0% of pruned steps, renewing keys and values 3.0%, the proof 1.00% of" in text
    assert "balanced 11.00 s and 41.0 dB, 14 steps 10.00 s and 37.0 dB, LazyCache 0.2 12.00 s and 33.0 dB" in text
    # full over unpatched, pruned over full, MACs, MACs over time
    assert "| 1.010 | 0.3 | 0.400 | 0.360 | 0.90 |" in text
    assert "| balanced | 11.00 s (11.00 to 11.00) | 1.82x | 2.00x | 0.91 | 1 MiB | 41.0 dB |" in text
    assert "| 0.500 s | 1.00% |" in text
    assert "time is 0.900 of the MACs and 0.100 of a full step" in text
    assert (tmp_path / "speed.svg").read_text().count("<svg") == 1


def test_the_document_names_engine_host_and_threads_but_no_path(tmp_path):
    (tmp_path / "quality.csv").write_text(QUALITY)
    write_document(tmp_path, made_up())
    text = (tmp_path / "speed.md").read_text()
    assert "ComfyUI 1, torch 2, 2 CPU threads" in text
    assert "engine `abc` (" in text
    assert not re.search(r"(^|\s)/[a-z]+/", text)


def test_points_of_growth_come_in_order():
    assert [value for value, *_ in growth(made_up(), "keep ratio")] == [0.25, 0.5, 1.0]
    assert ratio(made_up()["steps/demo"], "full", "unpatched") == pytest.approx(1.01)
