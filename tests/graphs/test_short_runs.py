"""Runs of 6 to 15 steps: single idle steps between full ones, held with CFG and along their trend without."""

import pytest

from graphs.host_graph import dense, relative, side_by_side

pytestmark = [pytest.mark.usefixtures("pack"), pytest.mark.host]

HELD = {"keep_ratio": 0.0, "refresh_interval": 2, "forecast": 0.0}
"""What the defaults of CAT Pruning Settings come down to there, with euler."""
SAME = 1e-4
"""Relative distance of latents that only differ in how the processor rounds."""


def short(steps, batch=1, height=16, width=16, **more):
    def build(graph, cat):
        model = cat(graph("SmallModel"))
        latent = graph("SmallLatent", batch=batch, height=height, width=width)
        return model, graph.ksampler(model, steps=steps, latent_image=latent, **more)

    return build


@pytest.mark.parametrize(
    ("steps", "kinds"),
    [(6, "fffiff"), (8, "fffififf"), (10, "fffifififf"), (12, "fffififififf"), (15, "ffffifififififf")],
)
def test_single_steps_are_idle_between_three_full_ones_or_more_and_two(steps, kinds):
    side = side_by_side(short(steps))
    assert side.kinds == kinds


@pytest.mark.parametrize("more", [{"batch": 2}, {"height": 12, "width": 20}], ids=["batch", "not square"])
def test_a_short_run_equals_its_dense_one(more):
    build = short(12, **more)
    side = side_by_side(build)
    assert side.run.reasons == []
    assert side.run.notes == [
        "for 12 steps of a sampler that takes one answer a step: keep_ratio 0, refresh_interval 2, forecast 0"
    ]
    assert relative(side.pruned, dense(build, side.run, **HELD)) < SAME


def test_samplers_that_look_back_are_not_corrected():
    build = short(12, sampler_name="dpmpp_2m")
    side = side_by_side(build)
    assert relative(side.pruned, dense(build, side.run, **HELD, correction=0.0)) < SAME


def test_chosen_warm_up_steps_bring_the_settings_back():
    assert "p" in side_by_side(short(12), warmup_steps=3).kinds


def test_a_focus_mask_that_is_of_no_use_is_told():
    def build(graph, cat):
        mask = graph("SolidMask", value=1.0, width=64, height=128)
        settings = graph("CATPruningSettings", focus_mask=mask)
        model = graph("SmallModel")
        # the graph without the pack has no settings either
        patched = cat(model)
        patched = model if patched is model else graph("CATPruning", model=model, settings=settings)
        return patched, graph.ksampler(patched, steps=12)

    run = side_by_side(build).run
    assert run.count("idle") == 4
    assert run.notes[0].endswith(", no focus mask")


def by_guider(kind, *prompts, **more):
    def build(graph, cat):
        model = cat(graph("SmallModel"))
        given = {name: graph("SmallPrompt", seed=seed) for seed, name in enumerate(prompts)}
        sigmas = graph("BasicScheduler", model=model, scheduler="simple", steps=8)
        return model, graph.custom(graph(kind, model=model, **given, **more), sigmas)

    return build


one_prompt = by_guider("BasicGuider", "conditioning")
three_prompts = by_guider(
    "DualCFGGuider", "cond1", "cond2", "negative", cfg_conds=4.0, cfg_cond2_negative=2.0, style="regular"
)


def test_other_guiders_are_taken_for_cfg():
    assert side_by_side(three_prompts).run.notes[0].endswith(", forecast 0")


@pytest.mark.parametrize("build", [short(8, cfg=1.0), one_prompt], ids=["CFG 1", "one prompt"])
def test_without_cfg_tokens_follow_their_trend(build):
    side = side_by_side(build)
    assert side.kinds == "fffififf"
    assert side.run.notes == ["for 8 steps of a sampler that takes one answer a step: keep_ratio 0, refresh_interval 2"]
    assert relative(side.pruned, dense(build, side.run, keep_ratio=0.0, refresh_interval=2)) < SAME


def test_two_samplers_that_share_a_run_are_known_by_its_steps():
    def build(graph, cat):
        model = cat(graph("SmallModel"))
        first = graph.part(model, graph("SmallLatent"), 20, 0, 10, rest="enable")
        return model, graph.part(model, first, 20, 10, 20, noise="disable")

    side = side_by_side(build)
    # neither is held as ten wide steps are
    assert [(run.reasons, run.notes) for run in side.runs] == [([], [])] * 2
    assert [run.count("pruned") for run in side.runs] == [2, 2]
    assert relative(side.pruned, dense(build, *side.runs)) < SAME


def test_a_second_pass_is_known_by_the_width_of_its_steps():
    side = side_by_side(short(10, denoise=0.5, cfg=1.0))
    assert (side.run.reasons, side.run.notes) == ([], [])
    assert side.run.count("pruned") > 0
