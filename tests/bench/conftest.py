"""The benchmark's sampler, small, for all of its tests."""

import pytest
import torch

from bench.sampling import DemoSampler

SIDE = 16
"""Of its latents."""


@pytest.fixture(scope="session")
def host():
    with torch.inference_mode():
        return DemoSampler(SIDE)


@pytest.fixture
def as_the_host_runs_nodes():
    """For tests that sample."""
    with torch.inference_mode():
        yield
