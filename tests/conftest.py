"""Brings the host into the tests, on the GPU where there is one, and the pack's nodes into the host."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

# small models gain nothing from threads, and every core has a test of its own; servers that tests start inherit it
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Speed is not tested: a machine may be busy. The same tree gives the same verdict: the examples are drawn from a seed
# that belongs to the test, and others are tried by --hypothesis-profile=explore.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", settings.get_profile("explore"), derandomize=True)
settings.load_profile("same")

TESTS = Path(__file__).resolve().parent
sys.path += [str(TESTS.parent), str(TESTS)]

from tools.host import ROOT, import_host  # noqa: E402

import_host(cpu=not torch.cuda.is_available())


def pytest_runtest_setup(item):
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("there is no GPU")


@pytest.fixture(scope="session")
def pack():
    """Node classes by id, loaded as the host does. Their ``cat_core`` is the pack's own copy, not the tests'."""
    import nodes

    assert asyncio.run(nodes.load_custom_node(str(ROOT)))
    return nodes.NODE_CLASS_MAPPINGS
