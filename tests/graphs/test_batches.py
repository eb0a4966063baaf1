"""Pictures of a batch: each chooses its own tokens, and comes out as it does alone."""

import numpy as np
import pytest
import torch

from graphs.host_graph import IDLE, TOKENS, Graph, dense, relative, side_by_side

pytestmark = pytest.mark.usefixtures("pack")

KNOBS = {"tokens": TOKENS, "idle": IDLE}
STEPS = 12
SAME = 1e-4
"""Relative distance of latents that only differ in how the processor rounds; measured up to 1e-6."""
NEAR = 0.34
"""Relative distance to the latent without CAT Pruning: twice the largest measured, 0.17."""


def sampled(graph, cat, latent, **inputs):
    model = cat(graph("SmallModel"))
    return model, graph.ksampler(model, latent_image=latent, steps=STEPS, **inputs)


def pictures(batch, only=None):
    """Different pictures with noise of their own, or one of them."""

    def build(graph, cat):
        latent = graph("SmallLatent", height=12, width=20, batch=batch, picture=True)
        if only is not None:
            latent = graph("LatentFromBatch", samples=latent, batch_index=only, length=1)
        return sampled(graph, cat, latent, denoise=0.8)

    return build


def pictures_of_a_guider(batch, only=None):
    """The same through the nodes that take noise and guidance apart."""

    def build(graph, cat):
        latent = graph("SmallLatent", batch=batch)
        if only is not None:
            latent = graph("LatentFromBatch", samples=latent, batch_index=only, length=1)
        model = cat(graph("SmallModel"))
        prompts = {"positive": graph("SmallPrompt", seed=1), "negative": graph("SmallPrompt", seed=2)}
        inputs = {
            "noise": graph("RandomNoise", noise_seed=3),
            "guider": graph("CFGGuider", model=model, cfg=4.0, **prompts),
            "sampler": graph("KSamplerSelect", sampler_name="euler"),
            "sigmas": graph("BasicScheduler", model=model, scheduler="simple", steps=STEPS),
        }
        return model, graph("SamplerCustomAdvanced", latent_image=latent, **inputs)

    return build


def masked_pictures(batch, only=None):
    """A second prompt under a mask, another mask for every picture."""

    def build(graph, cat):
        whole = graph("SolidMask", value=0.0, width=128, height=128)
        masks = []
        for number in range(batch) if only is None else (only,):
            half = graph("SolidMask", value=1.0, width=64, height=128)
            half = graph("MaskComposite", destination=whole, source=half, x=32 * number, y=0, operation="add")
            masks.append(graph("MaskToImage", mask=half))
        mask = masks[0]
        for other in masks[1:]:
            mask = graph("ImageBatch", image1=mask, image2=other)
        mask = graph("ImageToMask", image=mask, channel="red")
        prompt = graph("SmallPrompt", seed=5)
        there = graph("ConditioningSetMask", conditioning=prompt, mask=mask, strength=1.0, set_cond_area="default")
        both = graph("ConditioningCombine", conditioning_1=graph("SmallPrompt", seed=1), conditioning_2=there)
        latent = graph("SmallLatent", batch=batch)
        if only is not None:
            latent = graph("LatentFromBatch", samples=latent, batch_index=only, length=1)
        return sampled(graph, cat, latent, positive=both)

    return build


def repeated(graph, cat):
    """One picture several times, each with noise of its own."""
    picture = graph("SmallLatent", picture=True)
    return sampled(graph, cat, graph("RepeatLatentBatch", samples=picture, amount=3), denoise=0.8)


def joined(graph, cat):
    """Pictures from two places."""
    latent = graph("LatentBatch", samples1=graph("SmallLatent", picture=True), samples2=graph("SmallLatent", batch=2))
    return sampled(graph, cat, latent, denoise=0.8)


def twins(amount):
    """The same picture with the same noise, so many times."""

    def build(graph, cat):
        latent = graph("RepeatLatentBatch", samples=graph("SmallLatent", picture=True), amount=amount)
        latent = graph("LatentBatchSeedBehavior", samples=latent, seed_behavior="fixed")
        return sampled(graph, cat, latent, denoise=0.8)

    return build


BATCHES = {
    "one": pictures(1),
    "two": pictures(2),
    "four": pictures(4),
    "four of a guider": pictures_of_a_guider(4),
    "two with masks": masked_pictures(2),
    "repeated": repeated,
    "joined": joined,
    "twins": twins(3),
}


@pytest.mark.parametrize("name", BATCHES)
def test_keeping_all_tokens_changes_no_picture(name):
    side = side_by_side(BATCHES[name], keep_ratio=1.0)
    assert torch.equal(side.pruned, side.stock)


@pytest.mark.parametrize("kind", KNOBS)
@pytest.mark.parametrize("name", BATCHES)
def test_pruned_pictures_stay_near_and_equal_the_dense_run(name, kind):
    side = side_by_side(BATCHES[name], **KNOBS[kind])
    assert side.run.reasons == []
    assert side.kinds == {"tokens": "fffppfppfppf", "idle": "fffififififf"}[kind]
    for pruned, stock in zip(side.pruned, side.stock, strict=True):
        assert 1e-3 < relative(pruned, stock) < NEAR
    assert relative(side.pruned, dense(BATCHES[name], side.run, **KNOBS[kind])) < SAME


@pytest.mark.parametrize("kind", KNOBS)
@pytest.mark.parametrize("batch", [2, 4])
@pytest.mark.parametrize("make", [pictures, pictures_of_a_guider])
def test_a_picture_of_a_batch_is_the_picture_alone(make, batch, kind):
    together = side_by_side(make(batch), **KNOBS[kind])
    for number in range(batch):
        alone = side_by_side(make(batch, only=number), **KNOBS[kind])
        # otherwise the two graphs are not about the same picture
        assert relative(alone.stock[0], together.stock[number]) < SAME
        assert relative(alone.pruned[0], together.pruned[number]) < SAME
        for step, same in zip(together.run.steps, alone.run.steps, strict=True):
            if step.kind == "pruned":
                assert np.array_equal(step.selected[number], same.selected[0])


@pytest.mark.parametrize("number", [0, 1])
def test_a_picture_with_a_mask_of_its_own_is_the_picture_alone(number):
    together = side_by_side(masked_pictures(2), **TOKENS)
    alone = side_by_side(masked_pictures(2, only=number), **TOKENS)
    assert relative(alone.stock[0], together.stock[number]) < SAME
    assert relative(alone.pruned[0], together.pruned[number]) < SAME


def test_pictures_of_a_batch_choose_different_tokens():
    side = side_by_side(pictures(4), **TOKENS)
    for step in side.run.steps:
        if step.kind == "pruned":
            assert len({chosen.tobytes() for chosen in step.selected}) == 4
            assert [chosen.sum() for chosen in step.selected] == [30] * 4  # half of 6 x 10


@pytest.mark.parametrize("kind", KNOBS)
def test_pictures_with_the_same_noise_come_out_the_same(kind):
    side, alone = side_by_side(twins(3), **KNOBS[kind]), side_by_side(twins(1), **KNOBS[kind])
    for picture in side.pruned:
        assert relative(picture, alone.pruned[0]) < SAME


@pytest.mark.parametrize("kind", KNOBS)
def test_a_batch_cut_into_parts_gives_the_pictures_of_the_whole(kind):
    """The host runs the sampler once for each part, on the same model."""
    graph = Graph()
    model = graph("CATPruning", model=graph("SmallModel"), settings=graph("CATPruningSettings", **KNOBS[kind]))
    latent = graph("SmallLatent", height=12, width=20, batch=4, picture=True)
    whole = graph.ksampler(model, latent_image=latent, steps=STEPS, denoise=0.8)
    parts = graph("RebatchLatents", latents=latent, batch_size=3)
    parts = graph.ksampler(model, latent_image=parts, steps=STEPS, denoise=0.8)
    report = graph("CATPruningReport", model=model, latent=parts)
    expected, put_together, _ = graph.run(whole, graph("RebatchLatents", latents=parts, batch_size=4), report[1])
    assert relative(put_together, expected) < SAME
    reports = graph.executor.history_result["outputs"][report.node]["report"]
    assert len(reports) == 2
    for found in reports:
        assert found["reasons"] == found["notes"] == []
        assert found["steps"]["pruned"] + found["steps"]["idle"] > 0
