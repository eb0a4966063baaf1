"""The report of a run: what it counts, says and shows."""

import json

import numpy as np
import pytest

from cat_core.algorithm.macs import ModelCost
from cat_core.picture import BAR, COLOURS, GAP, draw
from cat_core.report import Call, Report, Step
from cat_core.settings import CATSettings

# linear layers: 100 per computed token and 1000 per sample; attention: 2 * computed * all
COST = ModelCost(per_block_token=100, per_image_token=0, per_text_token=0, per_sample=1000, image_widths=(1,))
FULL, FEW = 100 * 16 + 1000, 100 * 4 + 1000


def step(number, *computed, grid=(4, 4), samples=1):
    """A step with one call per number of computed tokens of 16."""
    done = Step(number, 1.0 - number / 10, [Call(samples, 16, count, 3) for count in computed])
    if computed and 0 < computed[0] < 16:
        mask = np.zeros(grid, bool)
        mask.flat[: computed[0]] = True
        done.selected = mask[None].repeat(samples, 0)
    return done


def run(*steps, cost=COST, **facts):
    return Report("SD3", CATSettings(), cost, list(steps), **{"finished": True, "seconds": 1.25, **facts})


def typical():
    """Two full steps, one pruned and one idle, each for two conditionings."""
    return run(step(0, 16, 16), step(1, 16, 16), step(2, 4, 4), step(3, 0, 0))


@pytest.mark.parametrize(
    ("computed", "kind"),
    [((16, 16), "full"), ((4, 4), "pruned"), ((0, 0), "idle"), ((16, 4), "pruned"), ((0, 4), "pruned")],
)
def test_a_step_is_what_was_computed_in_it(computed, kind):
    assert step(0, *computed).kind == kind


def test_a_step_without_a_model_call_is_not_called_full():
    # a caching node of the host may answer a step before the model is asked
    assert Step(3, 0.5).kind != "full"
    assert Step(3, 0.5).tokens == (0, 0)


def timed(*seconds, kinds="fffpi"):
    steps = [step(number, {"f": 16, "p": 4, "i": 0}[kind]) for number, kind in enumerate(kinds)]
    for one, time in zip(steps, seconds, strict=True):
        one.seconds = time
    return run(*steps)


def test_saved_seconds_are_told_by_the_runs_own_full_steps_but_the_first():
    report = timed(9.0, 2.0, 2.0, 1.5, 0.1)
    assert report.saved_seconds == pytest.approx(0.5 + 1.9)
    assert report.summary().endswith("2 of 5 steps pruned or idle, 2.4 s saved")
    assert report.to_dict()["saved_seconds"] == 2.4


@pytest.mark.parametrize("seconds", [(2.0, 2.0, 2.0, 2.0, 1.95), (0.1, 0.1, 0.1, 0.2, 0.1), (None,) * 5])
def test_saved_seconds_are_not_told_where_there_are_next_to_none_or_no_time_is_kept(seconds):
    assert timed(*seconds).summary().endswith("2 of 5 steps pruned or idle")


def test_without_a_full_step_behind_the_first_none_are_known():
    assert timed(2.0, 0.1, kinds="fi").saved_seconds is None


def test_steps_are_counted_by_kind():
    assert [typical().count(kind) for kind in ("full", "pruned", "idle")] == [2, 1, 1]


def test_linear_macs_are_summed_over_calls_and_compared_with_all_tokens():
    assert typical().macs(attention=False) == (4 * FULL + 2 * FEW, 8 * FULL)


def test_attention_is_added_to_both():
    done, whole = typical().macs()
    assert done == 4 * (FULL + 2 * 16 * 16) + 2 * (FEW + 2 * 4 * 16)
    assert whole == 8 * (FULL + 2 * 16 * 16)
    assert typical().mac_ratio == whole / done


def test_every_picture_of_a_batch_costs():
    assert run(step(0, 16, samples=3)).macs(attention=False) == (3 * FULL, 3 * FULL)


def test_without_a_cost_formula_no_macs_are_claimed():
    report = run(step(0, 16), step(1, 0), cost=None)
    assert report.macs() == (0, 0)
    assert report.mac_ratio is None
    assert report.to_dict()["macs"] == {"computed": 0, "unaccelerated": 0, "saved": None}
    assert "MACs" not in report.text()
    assert "1 of 2 steps pruned or idle" in report.text()


def test_the_text_says_kinds_time_memory_and_savings():
    text = run(*typical().steps, cache_bytes=3 * 2**20).text()
    done, whole = typical().macs()
    assert "Steps: 2 full, 1 pruned, 1 idle; 1.2 s; caches 3.0 MiB" in text
    assert f"{whole / done:.2f}x fewer MACs, 2 of 4 steps pruned or idle" in text
    assert f"{1 - done / whole:.1%} saved" in text
    linear_done, linear_whole = typical().macs(attention=False)
    assert f"linear layers alone {1 - linear_done / linear_whole:.1%}" in text
    assert "finish" not in text


def test_the_text_gives_every_reason():
    reasons = ["in full: another node is in the way", "idle steps in place of pruned ones: the moon is full"]
    text = run(step(0, 16), reasons=reasons).text()
    assert "nothing was pruned" in text
    assert "In full: another node is in the way.\nIdle steps in place of pruned ones: the moon is full." in text


def test_the_text_of_a_broken_off_run_says_so():
    assert "The run did not finish." in run(step(0, 16), finished=False).text()


def test_the_report_of_nothing_is_short_and_shows_nothing():
    empty = Report("SD3")
    assert empty.text() == "CAT Pruning on SD3: nothing was pruned\nThe run did not finish."
    assert empty.macs() == (0, 0)
    assert empty.mac_ratio is None
    assert draw(empty).max() < 0.1
    assert json.loads(json.dumps(empty.to_dict()))["per_step"] == []


def test_the_dictionary_survives_json():
    report = run(*typical().steps, reasons=["why"], cache_bytes=7)
    found = json.loads(json.dumps(report.to_dict()))
    assert found == report.to_dict()
    assert found["steps"] == {"full": 2, "pruned": 1, "idle": 1, "skipped": 0}
    assert found["settings"]["keep_ratio"] == CATSettings().keep_ratio
    assert (found["reasons"], found["cache_bytes"], found["seconds"], found["finished"]) == (["why"], 7, 1.25, True)
    assert found["per_step"][2] == {"step": 2, "kind": "pruned", "sigma": 0.8, "computed": 4, "tokens": 16}
    done, whole = report.macs()
    assert found["macs"] == {"computed": done, "unaccelerated": whole, "saved": round(1 - done / whole, 4)}


def assert_is_image(picture):
    assert picture.dtype == np.float32
    assert picture.shape[-1] == 3
    assert picture.min() >= 0
    assert picture.max() <= 1


TOP = BAR + GAP + GAP
"""First row of tiles."""


@pytest.mark.parametrize(("steps", "across", "down"), [(1, 3, 1), (3, 3, 1), (9, 3, 3), (10, 4, 3)])
def test_the_picture_has_a_tile_per_pruned_step_as_few_in_a_row_as_fit(steps, across, down):
    pruned = [step(2 * i, 4, grid=(2, 8)) for i in range(steps)]
    picture = draw(run(step(99, 16), *pruned, step(98, 0)))
    assert picture.shape == (BAR + GAP + down * (32 + GAP) + GAP, across * (128 + GAP) + GAP, 3)
    assert_is_image(picture)
    # the last tile is where it belongs
    last = picture[-GAP - 32 : -GAP, GAP + (steps - 1) % across * (128 + GAP) :][:, :128]
    assert last.max() > 0.5


def test_a_run_without_pruned_steps_has_bars_alone():
    assert draw(run(step(0, 16), step(1, 0))).shape == (BAR + GAP, 3 * (128 + GAP) + GAP, 3)


def tile(report, number=0):
    """A tile of 4 x 4 tokens, 32 pixels a token."""
    left = GAP + number * (128 + GAP)
    return draw(report)[TOP : TOP + 128, left : left + 128]


def bars(report):
    """Height in pixels of every step's bar."""
    picture = draw(report)[:TOP]
    edges = np.linspace(GAP, picture.shape[1] - GAP, len(report.steps) + 1).astype(int)
    return [int((picture[:, left + 4].max(-1) > 0.2).sum()) for left in edges[:-1]]


def test_bars_are_as_high_as_the_steps_cost():
    full, again, pruned, idle = bars(typical())
    assert full == again == BAR
    assert idle == 2
    few, whole = FEW + 2 * 4 * 16, FULL + 2 * 16 * 16
    assert pruned == round(few / whole * BAR)


def test_bars_count_tokens_where_macs_are_unknown():
    assert bars(run(step(0, 16), step(1, 4), cost=None)) == [BAR, BAR // 4]


def test_computed_tokens_are_bright_and_others_dark():
    shown = tile(typical()).sum(-1)
    assert shown[:32].min() > 2 * shown[32:].max()


def test_tiles_lie_over_the_preview():
    preview = np.zeros((8, 8, 3), np.float32)
    preview[:, 4:] = 1
    shown = tile(run(*typical().steps, preview=preview))
    assert np.allclose(shown[0, 0], 0.35 * np.array(COLOURS["pruned"]), atol=1e-6)
    assert shown[:, 64:].min() > shown[:, :64].min()
    assert np.allclose(shown[-1, [0, -1]], [[0] * 3, [0.25] * 3])


def test_borders_between_clusters_are_lines():
    clusters = np.repeat([[0, 0, 1, 1]], 4, 0)[None]
    plain, lined = tile(typical()), tile(run(*typical().steps, clusters=clusters))
    changed = (plain != lined).any(-1)
    assert changed[:, 64].all()
    assert changed.sum() == 128


def test_the_last_tile_shows_every_cluster_in_a_colour_of_its_own():
    clusters = np.arange(16).reshape(1, 4, 4)
    shown = tile(run(*typical().steps, clusters=clusters), 1)
    middles = shown[16::32, 16::32].reshape(-1, 3)
    assert len(np.unique(middles.round(4), axis=0)) == 16


def test_the_picture_shows_the_first_of_a_batch():
    alone, batch = step(0, 4), step(0, 4, samples=2)
    batch.selected[1] = True
    assert np.array_equal(draw(run(alone)), draw(run(batch)))


@pytest.mark.parametrize("clusters", [None, np.zeros((1, 4, 4), int)])
def test_areas_of_changing_size_can_be_shown(clusters):
    # an area prompt that ends in the middle of a run leaves masks of two sizes
    steps = [step(0, 4, grid=(4, 4)), step(1, 4, grid=(8, 8)), step(2, 4, grid=(2, 8)), step(3, 16)]
    assert_is_image(draw(run(*steps, clusters=clusters)))


def test_a_few_lines_for_the_node_say_what_was_saved_and_why_not_more():
    report = run(*typical().steps, reasons=["in full: the moon is full"], notes=["it rained"])
    done, whole = report.macs()
    first, *others = report.brief().splitlines()
    assert first == f"{whole / done:.2f}x fewer MACs, 2 of 4 steps pruned or idle"
    assert others[:2] == ["In full: the moon is full.", "Note: it rained."]
    assert run(step(0, 16)).brief() == "Nothing was pruned"


def test_small_grids_are_said_to_save_little():
    assert "only 16 tokens" in typical().text()
    assert "tokens pruned" not in run(step(0, 16), step(1, 0)).text()
    large = Step(0, 1.0, [Call(1, 256, 100, 3)])
    assert "only" not in run(large).text()
