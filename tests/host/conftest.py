"""The pack's nodes, loaded into this process as the host loads them."""

import asyncio

import pytest

import nodes
from tools.host import ROOT


@pytest.fixture(scope="session")
def pack():
    """Node classes by id. Their ``cat_core`` is the pack's own copy, not the one that tests import."""
    assert asyncio.run(nodes.load_custom_node(str(ROOT)))
    return nodes.NODE_CLASS_MAPPINGS
