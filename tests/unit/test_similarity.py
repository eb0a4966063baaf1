"""PSNR, SSIM and difference maps, against scikit-image."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from cat_core.similarity import COLOURS, compare, psnr


def pictures(seed, shape=(1, 24, 17, 3)):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_psnr_of_a_constant_error():
    # an error of 0.1 everywhere: 10 log10(1 / 0.01) = 20 dB
    assert psnr(torch.full((4, 4, 3), 0.6), torch.full((4, 4, 3), 0.5)) == pytest.approx(20, abs=1e-4)
    # of 0.01 at one value in four: 10 log10(4 / 0.0001) = 46.02 dB
    assert psnr(torch.tensor([0.5, 0.5, 0.5, 0.51]), torch.full((4,), 0.5)) == pytest.approx(46.0206, abs=1e-3)


@given(st.integers(0, 2**32), st.floats(0.01, 1), st.integers(7, 40), st.integers(7, 40))
def test_both_measures_are_those_of_scikit_image(seed, strength, height, width):
    one, other = (pictures(seed + i, (1, height, width, 3)) for i in range(2))
    other = torch.lerp(one, other, strength)
    similarity, _ = compare(one, other)
    x, y = (picture[0].double().numpy() for picture in (one, other))
    assert similarity.psnr[0] == pytest.approx(peak_signal_noise_ratio(x, y, data_range=1))
    assert similarity.ssim[0] == pytest.approx(structural_similarity(x, y, channel_axis=-1, data_range=1))


def test_equal_pictures_are_called_equal():
    similarity, difference = compare(pictures(1), pictures(1))
    assert similarity.psnr == [float("inf")]
    assert similarity.ssim == [pytest.approx(1)]
    assert similarity.text() == "The pictures are equal."
    assert difference.max() == 0


def test_one_reference_serves_a_batch_and_the_least_alike_is_named():
    batch = pictures(1).repeat(3, 1, 1, 1)
    batch[1] += 0.01
    batch[2] += 0.1
    similarity, difference = compare(pictures(1), batch)
    assert similarity.psnr[1:] == pytest.approx([40, 20], abs=1e-3)
    assert "Least alike is number 3: PSNR 20.0 dB" in similarity.text()
    assert difference.shape == (3, 24, 17, 3)


def test_the_map_is_brighter_where_pictures_differ_more():
    reference = torch.zeros(1, 8, 8, 3)
    other = torch.linspace(0, 0.2, 8).view(1, 1, 8, 1).expand(1, 8, 8, 3)
    _, difference = compare(reference, other)
    brightness = difference[0, 0].sum(-1)
    assert (brightness.diff() > 0).all()
    assert torch.allclose(difference[0, 0, -1], torch.tensor(COLOURS[-1]))
    assert np.ptp(difference[0].sum(-1).numpy(), axis=0).max() == 0


@pytest.mark.parametrize(
    ("reference", "other", "words"),
    [
        ((1, 8, 9, 3), (1, 8, 8, 3), "one size .* 9 x 8 and 8 x 8"),
        ((2, 8, 8, 3), (3, 8, 8, 3), "3 pictures need as many references or one, not 2"),
        ((1, 6, 8, 3), (1, 6, 8, 3), "at least 7 x 7"),
    ],
)
def test_what_cannot_be_compared_is_said(reference, other, words):
    with pytest.raises(ValueError, match=words):
        compare(torch.zeros(reference), torch.zeros(other))
