"""Several GPUs on paper: the formulas by hand on a toy, and the page from the figures that it is made of."""

from dataclasses import replace

import pytest
from comfyui_version import __version__ as host_version

from tools.dev import DEFAULT

if host_version != DEFAULT:
    pytest.skip(f"the page is computed with ComfyUI {DEFAULT}, and older ones lack its models", allow_module_level=True)

from bench import scale_model as scale
from bench.scale_document import FILE, document
from bench.scale_inputs import GPU, MODELS, SYSTEMS, Link, Model, System
from bench.scale_measured import CLOSE, POINTS
from bench.scale_text import SERVED
from cat_core.algorithm.macs import ModelCost
from cat_core.host.families.wan import Wan
from tools.family_table import Figures
from tools.host import ROOT

# 3 blocks of width 10 for 80 tokens and 20 of text: 80 * 1000 linear MACs, 2 * 80 * 80 * 30 of attention
COST = ModelCost(per_block_token=1000, per_image_token=0, per_text_token=0, per_sample=0, image_widths=(10, 10, 10))
TOY = Model("toy", Figures(Wan(), COST, parameters=6000, tokens=80, others=20, companions=0), 2, 28)
# 160000 operations at 400 a second, 768000 at 800, and 40 passes of 2 bytes over 100 rows of 30 at 2000 bytes a second
HERE = System(GPU("toy", 1000.0, 2000.0, 1, 0.4, 0.8, ""), Link("toy", 500.0, 250.0, 0.5, ""), 2)
PARTS = scale.Parts(linear=400.0, attention=960.0, rest=120.0)
ONE = 400.0 + 960.0 + 120.0
ANSWER = 0.5 + 512 * 80 / 500
DISTILLED = replace(TOY, conditionings=1)
SHARED = {name: engine for name, engine in scale.ENGINES.items() if "FSDP" not in name}


def linked(**changes):
    return replace(HERE, link=replace(HERE.link, **changes))


def test_a_call_is_products_attention_and_what_memory_moves():
    assert scale.Parts.of(TOY, HERE.gpu, 2) == PARTS


def test_weights_that_take_longer_to_read_than_to_multiply_decide():
    # 6000 parameters of 200 bytes at 2000 bytes a second
    assert scale.Parts.of(TOY, HERE.gpu, 200).linear == 600


@pytest.mark.parametrize("engine", scale.ENGINES.values())
def test_one_gpu_has_no_communication(engine):
    assert engine(TOY, HERE, 1) == 2 * ONE
    assert engine(DISTILLED, HERE, 1) == ONE


def test_cfg_split_halves_a_step_and_more_gpus_than_conditionings_do_nothing():
    assert scale.cfg(TOY, HERE, 2) == ONE + ANSWER
    assert scale.cfg(TOY, HERE, 8) == ONE + ANSWER
    assert scale.cfg(replace(TOY, conditionings=3), HERE, 2) == 2 * ONE + ANSWER


def test_cfg_split_does_nothing_where_guidance_is_distilled():
    assert scale.cfg(DISTILLED, HERE, 8) == ONE


def test_data_parallel_shares_pictures():
    assert scale.data(TOY, HERE, 4) == 2 * ONE / 4


def test_ulysses_sends_four_times_what_is_not_the_gpus_own():
    # a GPU of four has 25 rows of 30 numbers, 2 bytes each, and sends three quarters of them, four times
    exchanged = 3 * 4 * 0.5 + 4 * 25 * 30 * 2 * 0.75 / 250
    assert scale.exchanged(TOY, HERE.link, 4) == exchanged
    assert scale.ulysses(TOY, HERE, 4) == 2 * (ONE / 4 + exchanged) + ANSWER
    assert scale.communication(TOY, HERE, 4) == (2 * exchanged + ANSWER) / scale.ulysses(TOY, HERE, 4)


def test_ring_hides_what_attention_outlasts():
    assert scale.ring(TOY, HERE, 4) == 2 * ONE / 4 + ANSWER
    slow = linked(stream=25.0)
    # keys and values of 25 rows of 30 numbers, 2 bytes each, go to three others
    around = 3 * (3 * 0.5 + 2 * 25 * 30 * 2 / 25)
    assert around > 960 / 4
    assert scale.ring(TOY, slow, 4) == 2 * ((400 + 120) / 4 + around) + scale.answer(TOY, slow.link, 4)


def test_groups_have_a_conditioning_each():
    groups = scale.cfg_ulysses(TOY, HERE, 8)
    assert groups == pytest.approx(ONE / 4 + scale.exchanged(TOY, HERE.link, 4) + ANSWER / 2 + ANSWER)
    assert scale.cfg_ulysses(DISTILLED, HERE, 8) == scale.ulysses(DISTILLED, HERE, 8)


def test_fsdp_gathers_all_weights_but_its_own_at_every_call():
    assert scale.fsdp(TOY, HERE, 4) == scale.ulysses(TOY, HERE, 4) + 2 * 6000 * 2 * 0.75 / 500


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("engine", SHARED.values(), ids=SHARED)
def test_more_gpus_are_not_slower(engine, system):
    for model in MODELS:
        seconds = [engine(model, system, gpus) for gpus in (1, 2, 4, 8)]
        assert seconds == sorted(seconds, reverse=True), model.name


def test_no_engine_is_faster_than_its_gpus_together():
    for model in MODELS:
        for engine in scale.ENGINES.values():
            assert all(engine(model, SYSTEMS[0], n) >= engine(model, SYSTEMS[0], 1) / n - 1e-9 for n in (2, 4, 8))


def test_idle_steps_leave_the_same_share_with_every_engine():
    # 17 of 28 steps are computed
    for name, engine in scale.ENGINES.items():
        for gpus in (1, 8):
            assert scale.with_pack(TOY, HERE, name, gpus, "quality") == 17 * engine(TOY, HERE, gpus)


def test_pruned_steps_compute_three_quarters_of_the_tokens():
    # 10 full and 5 pruned of 28; text is not pruned
    pruned = 0.75 * (400 + 960) + 40 * 2 * (60 + 20) * 30 / 2000
    assert scale.with_pack(TOY, HERE, scale.CFG, 2, "balanced") == 10 * (ONE + ANSWER) + 5 * (pruned + ANSWER)
    with pytest.raises(KeyError):
        scale.with_pack(TOY, HERE, "Ulysses", 2, "balanced")


def test_gpus_hold_weights_and_the_caches_of_their_conditionings():
    caches = 2 * 80 * 30
    assert scale.held(TOY, HERE, scale.CFG, 1, caches=True) == 12000 + 2 * caches
    assert scale.held(TOY, HERE, scale.CFG, 2, caches=True) == 12000 + caches
    assert scale.held(TOY, HERE, scale.DATA, 2, caches=True) == 12000 + 2 * caches
    assert scale.held(TOY, HERE, "Ulysses + FSDP", 4) == 3000


def test_predictions_are_as_close_as_stated_and_the_others_say_why():
    assert len(POINTS) >= 25
    assert [(p.model.name, p.gpus, p.off) for p in POINTS if (abs(p.off) > CLOSE) != bool(p.why)] == []
    assert all(abs(point.off) < 0.5 for point in POINTS)
    assert sum(not point.why for point in POINTS) / len(POINTS) > 0.8


def test_off_is_what_is_predicted_too_much():
    assert replace(POINTS[0], measured=POINTS[0].predicted / 1.5).off == pytest.approx(0.5)


def test_the_page_is_up_to_date():
    assert FILE.read_text(encoding="utf-8") == document(), "run: make bench-scale"


def test_readme_has_the_table_of_engines():
    assert SERVED in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_input_has_a_source():
    assert [point.model.name for point in POINTS if "](http" not in point.source] == []
