"""Prompts for parts of a picture: each part chooses tokens of its own, and is what it would be alone."""

import itertools

import numpy as np
import pytest

from graphs.host_graph import IDLE, TOKENS, Graph, relative, side_by_side
from graphs.prompts import KNOBS, MARGIN, PLANNED, SAME, STEPS, area, combined, mask, prompt, ranged, whole_run

pytestmark = pytest.mark.usefixtures("pack")

LEFT, RIGHT, MIDDLE = (0, 0, 64, 128), (64, 0, 64, 128), (32, 24, 72, 64)


def parts_of_a_picture(*areas):
    """Each with its own positive and negative prompt, and nothing for the rest."""

    def build(graph, cat):
        prompts = {
            name: combined(
                graph, *(area(graph, prompt(graph, seed + 2 * number), *part) for number, part in enumerate(areas))
            )
            for name, seed in (("positive", 1), ("negative", 2))
        }
        return guided(graph, cat, graph("SmallLatent", picture=True), **prompts)

    return build


def cut_out(part, number=0):
    """The same part as a picture by itself, with the prompts that the n-th part has."""

    def build(graph, cat):
        x, y, width, height = part
        latent = graph("LatentCrop", samples=graph("SmallLatent", picture=True), x=x, y=y, width=width, height=height)
        prompts = {"positive": prompt(graph, 1 + 2 * number), "negative": prompt(graph, 2 + 2 * number)}
        return guided(graph, cat, latent, **prompts)

    return build


def guided(graph, cat, latent, **prompts):
    """Without fresh noise, which would not be the same for a part and the whole."""
    model = cat(graph("SmallModel"))
    inputs = {
        "noise": graph("DisableNoise"),
        "guider": graph("CFGGuider", model=model, cfg=4.0, **prompts),
        "sampler": graph("KSamplerSelect", sampler_name="euler"),
        "sigmas": graph("BasicScheduler", model=model, scheduler="simple", steps=STEPS, denoise=0.8),
    }
    return model, graph("SamplerCustomAdvanced", latent_image=latent, **inputs)


def inside(latent, part):
    x, y, width, height = (side // 8 for side in part)
    return latent[..., y : y + height, x : x + width]


@pytest.mark.parametrize("kind", KNOBS)
@pytest.mark.parametrize("part", [LEFT, RIGHT, MIDDLE])
def test_a_part_alone_in_the_picture_is_the_part_cut_out(part, kind):
    whole, cut = (side_by_side(build, **KNOBS[kind]) for build in (parts_of_a_picture(part), cut_out(part)))
    assert relative(inside(whole.stock, part), cut.stock) < SAME
    assert relative(inside(whole.pruned, part), cut.pruned) < SAME
    assert cut.difference > 1e-3


def test_two_parts_without_selected_tokens_are_the_parts_cut_out():
    whole = side_by_side(parts_of_a_picture(LEFT, RIGHT), **IDLE)
    for number, part in enumerate((LEFT, RIGHT)):
        cut = side_by_side(cut_out(part, number), **IDLE)
        assert relative(inside(whole.pruned, part), cut.pruned) < SAME


def test_two_parts_of_one_size_choose_tokens_of_their_own():
    whole = side_by_side(parts_of_a_picture(LEFT, RIGHT), **TOKENS)
    for number, part in enumerate((LEFT, RIGHT)):
        cut = side_by_side(cut_out(part, number), **TOKENS)
        assert relative(inside(whole.stock, part), cut.stock) < SAME
        assert relative(inside(whole.pruned, part), cut.pruned) < SAME


def focusing(focused, *areas):
    """Sample parts of a picture with a focus mask and a keep ratio of zero; return the run and the latent."""
    graph = Graph()
    where = mask(graph, focused[0], focused[2])
    settings = graph("CATPruningSettings", **{**TOKENS, "keep_ratio": 0.0}, focus_mask=where)
    build = parts_of_a_picture(*areas)
    model, latent = build(graph, lambda unpatched: graph("CATPruning", model=unpatched, settings=settings))
    made, patcher = graph.run(latent, model)
    return patcher.attachments["cat_pruning"].reports[-1][1], made


@pytest.mark.parametrize(("focused", "least", "most"), [(LEFT, 0, 1), (RIGHT, 32, 32)])
def test_a_focus_mask_is_one_of_the_picture_for_a_part_of_it_too(focused, least, most):
    """With a keep ratio of zero tokens under it are computed: of the right part, all or (all but) none."""
    run, _ = focusing(focused, RIGHT)
    assert all(least <= call.computed <= most for call in run.steps[3].calls)


def test_parts_of_one_size_compute_as_many_tokens_as_the_focus_mask_asks_of_one_of_them():
    """They may share a call, which has as many tokens of each."""
    run, latent = focusing((64, 0, 32, 128), LEFT, RIGHT)
    assert run.reasons == []
    assert {call.computed for step in run.steps for call in step.calls if step.kind == "pruned"} == {16}
    assert run.count("pruned") == PLANNED["tokens"].count("p")
    stock = side_by_side(parts_of_a_picture(LEFT, RIGHT), **IDLE).stock
    assert 1e-3 < relative(latent, stock) < MARGIN * 0.395


def chosen_after_refreshes(prompts):
    """Tokens that the first pruned step behind every refresh chose, by change alone and without a forecast."""
    knobs = {**TOKENS, "forecast": 0.0, "cluster_share": 1.0, "staleness_decay": 0.0}

    def build(graph, cat):
        model = cat(graph("SmallModel"))
        return model, graph.ksampler(model, steps=16, positive=prompts(graph))

    steps = side_by_side(build, **knobs).run.steps
    return [
        after.selected for before, after in itertools.pairwise(steps) if (before.kind, after.kind) == ("full", "pruned")
    ]


def test_tokens_are_chosen_anew_after_every_refresh():
    """The next test means something only if they are, with a prompt that stays."""
    chosen = chosen_after_refreshes(prompt)
    assert len(chosen) > 3
    assert not any(np.array_equal(one, other) for one, other in itertools.pairwise(chosen))


def test_tokens_are_chosen_by_a_prompt_that_is_still_there():
    chosen = chosen_after_refreshes(lambda g: combined(g, ranged(g, 1, 0.0, 0.3), ranged(g, 5, 0.3, 1.0)))
    assert not any(np.array_equal(one, other) for one, other in itertools.pairwise(chosen))


@pytest.mark.parametrize(
    "prompts",
    [
        pytest.param(prompt, id="alone"),
        pytest.param(
            # of another length it is called apart: no other prompt is computed in full with it
            lambda g: combined(g, prompt(g), ranged(g, 5, 0.35, 1.0, tokens=9)),
            id="beside one that starts late",
        ),
    ],
)
def test_tokens_take_turns_from_step_to_step(prompts):
    """With half of the tokens and no clusters' share, a step takes those that the step before left out."""
    steps = side_by_side(whole_run(prompts), **{**TOKENS, "cluster_share": 0.0, "refresh_interval": 0}).run.steps
    chosen = [step.selected for step in steps if step.selected is not None]
    assert len(chosen) == STEPS - 4
    assert not any((one & other).any() for one, other in itertools.pairwise(chosen))
