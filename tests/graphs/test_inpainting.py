"""Inpainting with *automatic*: what is repainted is computed between refreshes, and a ring around it."""

import numpy as np
import pytest
import torch

from graphs.host_graph import dense, relative, side_by_side

pytestmark = [pytest.mark.usefixtures("pack"), pytest.mark.host]

STEPS = 20
NOTE = "what is repainted is computed between refreshes, and a ring around it"
REPAINTED = {"keep_ratio": 0.0, "refresh_interval": 4}
"""What *automatic* comes down to there; which tokens, a dense run reads from the report."""
SAME = 1e-4


def painting(left=40, size=32, strength=1.0, change=None, automatic=True, **latent_of):
    """A graph that repaints a square of a picture, of 128 x 128 unless said.

    ``change`` is a node between model and sampler, ``latent_of`` the inputs of the latent.
    """

    def build(graph, cat):
        model = graph("SmallModel")
        patched = cat(model)
        if automatic and patched is not model:
            patched = graph("CATPruning", model=model)
        if change:
            patched = graph(change, model=patched)
        empty = graph("SolidMask", value=0.0, width=128, height=128)
        square = graph("SolidMask", value=strength, width=size, height=size)
        mask = graph("MaskComposite", destination=empty, source=square, x=left, y=left, operation="add")
        latent = graph("SetLatentNoiseMask", samples=graph("SmallLatent", picture=True, **latent_of), mask=mask)
        return patched, graph.ksampler(patched, steps=STEPS, latent_image=latent)

    return build


@pytest.mark.parametrize("strength", [1.0, 0.3], ids=["hard", "soft"])
def test_what_is_repainted_and_a_ring_are_the_tokens_of_pruned_steps(strength):
    build = painting(strength=strength)
    side = side_by_side(build)
    assert side.kinds == "ffffpifipifipifipiff"
    assert side.run.notes == [NOTE]
    assert side.run.reasons == []
    # latent pixels 5 to 8 and two on each side: tokens 1 to 5 of 8
    expected = np.zeros((8, 8), bool)
    expected[1:6, 1:6] = True
    for step in side.run.steps:
        if step.kind == "pruned":
            assert (step.selected[0].squeeze() == expected).all()
    assert relative(side.pruned, dense(build, side.run, **REPAINTED)) < SAME


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(painting(size=128, left=0), id="all is repainted"),
        pytest.param(painting(strength=0.0), id="nothing is"),
        pytest.param(painting(change="DifferentialDiffusion"), id="the mask changes"),
        pytest.param(painting(automatic=False), id="settings are chosen"),
    ],
)
def test_where_there_is_nothing_to_single_out_it_is_balanced(build):
    side = side_by_side(build)
    assert NOTE not in side.run.notes
    assert side.run.count("pruned") > 0
    assert {int(step.selected.sum()) for step in side.run.steps if step.kind == "pruned"} == {48}


def test_pictures_of_a_batch_that_are_not_square_equal_their_dense_run():
    build = painting(batch=2, height=12, width=20)
    side = side_by_side(build)
    assert side.run.notes == [NOTE]
    assert side.run.count("pruned") > 0
    assert relative(side.pruned, dense(build, side.run, **REPAINTED)) < SAME


def test_what_is_not_repainted_stays():
    stock, pruned = (side := side_by_side(painting())).stock, side.pruned
    outside = torch.ones(16, 16, dtype=torch.bool)
    outside[5:9, 5:9] = False
    assert torch.equal(stock[..., outside], pruned[..., outside])
