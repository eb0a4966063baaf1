"""Picture and latent metrics against numbers worked out by hand."""

import numpy as np
import pytest
import torch

from bench.metrics import METRICS, MOST_PSNR, compare_pictures, relative_error


def picture(seed=0):
    return np.random.default_rng(seed).random((64, 64, 3), dtype=np.float32)


def test_psnr_is_bounded():
    assert compare_pictures(picture() + np.float32(1e-9), picture())["psnr"] == MOST_PSNR


def test_identical_pictures_have_the_highest_values():
    found = compare_pictures(picture(), picture())
    assert tuple(found) == METRICS
    assert found == {"psnr": MOST_PSNR, "ssim": pytest.approx(1), "haarpsi": pytest.approx(1, abs=1e-4)}


def test_every_metric_falls_with_more_noise():
    base = 0.25 + 0.5 * picture()
    found = [compare_pictures(base + strength * (picture(1) - 0.5), base) for strength in (0.01, 0.05, 0.2)]
    for name in METRICS:
        values = [metrics[name] for metrics in found]
        assert values == sorted(values, reverse=True)
        assert len(set(values)) == 3


def test_relative_error_of_latents():
    assert relative_error(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0])) == pytest.approx(0.1)
