"""The simplest graph: what all others are compared with."""

import pytest
import torch

from graphs.host_graph import Graph, GraphError

pytestmark = pytest.mark.usefixtures("pack")


def test_a_pruned_sampler_beside_a_stock_one():
    graph = Graph()
    model = graph("SmallModel")
    cat = graph("CATPruning", model=model, settings=graph("CATPruningSettings", warmup_steps=3))
    stock, pruned = graph.ksampler(model), graph.ksampler(cat)
    alone, again, other = graph.run(stock, graph.ksampler(model), pruned)
    assert torch.equal(alone, again)
    assert not torch.equal(alone, other)
    report = graph.report(cat, pruned)
    assert report["steps"]["pruned"] > 0
    assert report["reasons"] == []


def test_a_bad_value_is_refused_by_the_host():
    graph = Graph()
    cat = graph("CATPruning", model=graph("SmallModel"), settings=graph("CATPruningSettings", keep_ratio=1.5))
    with pytest.raises(GraphError, match="keep_ratio"):
        graph.run(graph.ksampler(cat))
