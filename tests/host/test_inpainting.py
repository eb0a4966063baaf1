"""What is singled out of a picture that is repainted in part."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.morphology import dilation

from cat_core.host.inpainting import LARGEST_SHARE, focus_on_repainted, grow
from cat_core.settings import PRESETS

BALANCED = PRESETS["balanced"]


@given(st.integers(1, 2), st.integers(1, 24), st.integers(1, 24), st.integers(0, 5), st.integers(0, 99))
def test_a_mask_grows_to_all_sides(batch, height, width, ring, seed):
    mask = torch.rand(batch, height, width, generator=torch.Generator().manual_seed(seed)) > 0.97
    square = np.ones((2 * ring + 1, 2 * ring + 1), bool)
    expected = np.stack([dilation(one, square) for one in mask.numpy()])
    assert (grow(mask.float(), ring).bool().numpy() == expected).all()


def repainted(side, *shape):
    mask = torch.zeros(1, 16, *shape)
    mask[..., :side, :side] = 1
    return mask


@pytest.mark.parametrize("shape", [(32, 32), (3, 32, 32)], ids=["picture", "video"])
def test_the_focus_is_on_what_is_repainted_and_a_ring(shape):
    chosen = focus_on_repainted(BALANCED, repainted(8, *shape))
    assert chosen.selects_tokens
    assert chosen.keep_ratio == 0
    assert torch.equal(chosen.focus_mask, repainted(12, 32, 32)[:, 0])


def test_a_video_is_repainted_where_any_frame_is():
    mask = torch.zeros(1, 1, 2, 32, 32)
    mask[:, :, 0, 0, 0] = mask[:, :, 1, 31, 31] = 0.1
    focus = focus_on_repainted(BALANCED, mask).focus_mask
    assert focus[0, 0, 0] == focus[0, 31, 31] == 1
    assert focus.sum() == 50


def test_each_picture_of_a_batch_has_its_own():
    focus = focus_on_repainted(BALANCED, torch.cat([repainted(8, 32, 32), repainted(4, 32, 32)])).focus_mask
    assert focus.sum((1, 2)).tolist() == [144, 64]


@pytest.mark.parametrize(
    "mask", [None, torch.ones(1, 1, 4096), repainted(0, 32, 32), repainted(32, 32, 32), repainted(24, 32, 32)]
)
def test_there_may_be_nothing_to_single_out(mask):
    assert LARGEST_SHARE < 28**2 / 32**2
    assert focus_on_repainted(BALANCED, mask) is BALANCED
