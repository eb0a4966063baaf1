"""Latents as tokens."""

import torch
from comfy.utils import pack_latents
from hypothesis import given
from hypothesis import strategies as st

from cat_core.host.tokens import TokenGrid, find_grid, part_of_mask


@given(st.lists(st.integers(1, 9), min_size=2, max_size=3), st.tuples(*[st.integers(1, 3)] * 3))
def test_a_latent_comes_back_from_its_tokens_whatever_its_size(size, patch):
    grid = TokenGrid(tuple(size), patch)
    latent = torch.randn(2, 3, *size)
    tokens = grid.to_tokens(latent)
    assert tokens.shape[:2] == (2, grid.tokens)
    assert torch.equal(grid.to_latent(tokens), latent)


def test_of_packed_latents_the_first_has_tokens_and_the_others_are_one():
    video, sound = torch.randn(2, 3, 2, 4, 6), torch.randn(2, 5, 7)
    packed, shapes = pack_latents([video, sound])
    grid = find_grid(packed.shape[2:], (1, 2, 2), shapes)
    tokens, rest = grid.split(packed)
    assert grid.parts == 2
    assert torch.equal(tokens, TokenGrid((2, 4, 6), (1, 2, 2)).to_tokens(video))
    assert torch.equal(grid.unpack(packed), video)
    assert torch.equal(rest, sound.flatten(1).unsqueeze(1))
    assert torch.equal(grid.join([tokens, rest]), packed)


def test_what_is_not_packed_has_tokens_alone():
    """A latent that is alone, and a part of a packed one, as another node may give it."""
    for size, shapes in ((4, 6), [(1, 3, 4, 6)]), ((90,), [(1, 3, 4, 6), (1, 5, 7)]):
        grid = find_grid(size, (1, 2, 2), shapes)
        latent = torch.randn(1, 1, *size)
        assert grid == TokenGrid(size, (1, 2, 2))
        (tokens,) = grid.split(latent)
        assert torch.equal(grid.join([tokens]), latent)


def test_tokens_run_over_frames_then_rows_then_columns():
    grid = TokenGrid((2, 4, 6), (1, 2, 2))
    assert grid.shape == (2, 2, 3)
    latent = torch.zeros(1, 1, 2, 4, 6)
    latent[..., 1, 2:4, 4:6] = 1
    assert grid.to_tokens(latent).amax(-1).nonzero()[:, 1].tolist() == [1 * 6 + 1 * 3 + 2]


def test_a_picture_has_no_frames():
    assert TokenGrid((5, 7), (1, 2, 2)).shape == (3, 4)


def test_a_mask_of_tokens_covers_their_patches():
    grid = TokenGrid((3, 4), (1, 2, 2))
    mask = torch.tensor([[[True], [False], [False], [True]]])
    expected = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]]
    assert grid.to_latent(mask)[0, 0].int().tolist() == expected


def test_a_part_of_a_mask_lies_over_its_area():
    mask = torch.arange(64.0).view(1, 8, 8)
    # the latent is twice as large: its area of 4 x 8 from row 8, column 4
    part = part_of_mask(mask, (4, 8, 8, 4), (1, 16, 16, 16))
    assert torch.equal(part, mask[:, 4:6, 2:6])
    # with frames, whose mask is one for all
    assert torch.equal(part_of_mask(mask, (3, 4, 8, 0, 8, 4), (1, 16, 3, 16, 16)), part)
    assert part_of_mask(torch.ones(1, 1, 1), (4, 8, 8, 4), (1, 16, 16, 16)).shape == (1, 1, 1)
