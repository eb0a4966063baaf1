"""Guidance of every kind: scales, guiders, and the host's nodes that change how predictions are put together."""

import functools
import re
from dataclasses import dataclass, field

import pytest
import torch

from graphs.host_graph import IDLE, TOKENS, Build, Graph, GraphError, dense, relative, side_by_side

pytestmark = pytest.mark.usefixtures("pack")

KNOBS = {"tokens": TOKENS, "idle": IDLE}
PLANNED = {"tokens": "fffppfppfppf", "idle": "fffififififf"}
STEPS = 12
SAME = 1e-4
"""Relative distance of latents that only differ in how the processor rounds; measured up to 1e-6."""
MARGIN = 2
"""How much farther from the latent without CAT Pruning one may be than was measured."""
FARTHEST = 0.237
"""The largest distance that was measured without a negative prompt."""
AGAIN = "in full: a conditioning is evaluated more than once at a step (another guidance node does this)"
REPLACES = "idle steps in place of pruned ones: another node replaces transformer blocks"
BEGINS = "in full: another node begins or ends to replace transformer blocks in the middle of the run"
APART = "in full: conditionings are evaluated together in another way than before"


@dataclass(frozen=True)
class Node:
    """A node from model to model, and what was measured with it.

    Attributes:
        inputs: of the node; functions make them of a graph.
        tokens: measured distance from the latent without CAT Pruning with pruned steps.
        idle: and with idle steps alone.
        kinds: of the steps by knobs, where some calls are computed in full at steps that are not, or are idle.
        reasons: why, by knobs.
        batch: pictures; some nodes treat those of a batch differently, some can do one alone.
    """

    kind: str
    inputs: dict
    tokens: float
    idle: float
    kinds: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, list[str]] = field(default_factory=dict)
    batch: int = 1

    def __call__(self, graph, model):
        inputs = {name: value(graph) if callable(value) else value for name, value in self.inputs.items()}
        return graph(self.kind, model=model, **inputs)


def tonemap(graph):
    return graph("LatentOperationTonemapReinhard", multiplier=1.0)


def prompt(graph, seed=1):
    return graph("SmallPrompt", seed=seed)


SKIPPED = {"scale": 3.0, "start_percent": 0.01, "end_percent": 0.6}
BLOCK = {"double_layers": "1", "single_layers": ""}
ALWAYS_AGAIN = {key: [AGAIN] for key in KNOBS}
NODES = {
    "RescaleCFG": Node("RescaleCFG", {"multiplier": 0.7}, 0.140, 0.125),
    "CFGZeroStar": Node("CFGZeroStar", {}, 0.127, 0.131),
    "CFGNorm": Node("CFGNorm", {}, 0.172, 0.146),
    "APG": Node("APG", {}, 0.142, 0.119),
    "APG with momentum": Node("APG", {"momentum": -0.5, "norm_threshold": 50.0}, 0.149, 0.187),
    "RenormCFG": Node("RenormCFG", {}, 0.176, 0.140),
    "TCFG": Node("TCFG", {}, 0.136, 0.123),
    "Mahiro": Node("Mahiro", {}, 0.132, 0.129),
    "FreSca": Node("FreSca", {"freq_cutoff": 3}, 0.151, 0.142),
    "Epsilon Scaling": Node("Epsilon Scaling", {"scaling_factor": 1.01}, 0.145, 0.135),
    "TemporalScoreRescaling": Node("TemporalScoreRescaling", {}, 0.141, 0.134),
    "VideoLinearCFGGuidance": Node("VideoLinearCFGGuidance", {"min_cfg": 2.0}, 0.138, 0.131, batch=2),
    "VideoTriangleCFGGuidance": Node("VideoTriangleCFGGuidance", {"min_cfg": 2.0}, 0.129, 0.119, batch=2),
    "LatentApplyOperationCFG": Node("LatentApplyOperationCFG", {"operation": tonemap}, 0.135, 0.122),
    "PerpNeg": Node("PerpNeg", {"empty_conditioning": lambda g: prompt(g, 3), "neg_scale": 1.0}, 0.152, 0.146),
    # these run the model again, with fewer blocks or as it is: at idle steps something is computed, too
    "SkipLayerGuidanceSD3": Node(
        "SkipLayerGuidanceSD3", {"layers": "1", **SKIPPED}, 0.200, 0.233, {"idle": "fffpfpfpfiff"}, ALWAYS_AGAIN
    ),
    "SkipLayerGuidanceDiT": Node(
        "SkipLayerGuidanceDiT",
        {**BLOCK, **SKIPPED, "rescaling_scale": 0.5},
        0.202,
        0.209,
        {"idle": "fffpfpfpfiff"},
        ALWAYS_AGAIN,
    ),
    "PerturbedAttentionGuidance": Node(
        "PerturbedAttentionGuidance", {"scale": 1.0}, 0.213, 0.199, {"idle": "fffpfpfpfpff"}, ALWAYS_AGAIN
    ),
    # the negative prompt goes without blocks: there are no pruned steps
    "SkipLayerGuidanceDiTSimple": Node(
        "SkipLayerGuidanceDiTSimple", BLOCK, 0.226, 0.182, {"tokens": "ffffifififif"}, {"tokens": [REPLACES]}
    ),
    "SkipLayerGuidanceDiTSimple up to the middle": Node(
        "SkipLayerGuidanceDiTSimple",
        {**BLOCK, "end_percent": 0.5},
        0.185,
        0.139,
        {"tokens": "ffffifififif", "idle": "fffififffiff"},
        {"tokens": [REPLACES], "idle": [BEGINS]},
    ),
    "SkipLayerGuidanceDiTSimple in the middle": Node(
        "SkipLayerGuidanceDiTSimple",
        {**BLOCK, "start_percent": 0.3, "end_percent": 0.55},
        0.169,
        0.132,
        {"tokens": "fffpffififif", "idle": "fffififffiff"},
        {"tokens": [APART, REPLACES], "idle": [BEGINS]},
    ),
}


@functools.cache
def with_node(name, first=True, cfg=4.0) -> Build:
    """Sampling with a node in front of CAT Pruning, or behind it."""
    node = NODES[name]

    def build(graph, cat):
        model = graph("SmallModel")
        model = cat(node(graph, model)) if first else node(graph, cat(model))
        latent = graph("SmallLatent", batch=node.batch)
        return model, graph.ksampler(model, steps=STEPS, cfg=cfg, latent_image=latent)

    return build


@pytest.mark.parametrize("name", NODES)
def test_keeping_all_tokens_changes_nothing_beside_a_node(name):
    side = side_by_side(with_node(name), keep_ratio=1.0)
    assert torch.equal(side.pruned, side.stock)


@pytest.mark.parametrize("kind", KNOBS)
@pytest.mark.parametrize("name", NODES)
def test_pruned_beside_a_node_it_stays_near_and_equals_the_dense_run(name, kind):
    node = NODES[name]
    build = with_node(name)
    side = side_by_side(build, **KNOBS[kind])
    assert side.run.reasons == node.reasons.get(kind, [])
    assert side.kinds == node.kinds.get(kind, PLANNED[kind])
    assert 1e-3 < side.difference < MARGIN * getattr(node, kind)
    assert relative(side.pruned, dense(build, side.run, **KNOBS[kind])) < SAME


@pytest.mark.parametrize("name", NODES)
def test_a_node_may_be_in_front_or_behind(name):
    front, behind = (side_by_side(with_node(name, first), **TOKENS) for first in (True, False))
    assert torch.equal(behind.stock, front.stock)
    assert torch.equal(behind.pruned, front.pruned)
    assert behind.run.reasons == front.run.reasons


@pytest.mark.parametrize("name", NODES)
def test_without_a_negative_prompt_a_node_stays_near_too(name):
    node = NODES[name]
    build = with_node(name, cfg=1.0)
    side = side_by_side(build, **TOKENS)
    # of the positive prompt alone, only the nodes that run it again are a reason
    assert side.run.reasons == ([AGAIN] if node.reasons == ALWAYS_AGAIN else [])
    assert 1e-3 < side.difference < MARGIN * FARTHEST
    assert relative(side.pruned, dense(build, side.run, **TOKENS)) < SAME


@pytest.mark.parametrize("knobs", [{"keep_ratio": 1.0}, TOKENS, IDLE], ids=["all", *KNOBS])
def test_an_error_of_a_node_for_other_models_reaches_the_user_as_without(knobs):
    """Self-attention guidance looks for a UNet's attention, which no transformer has."""
    sag = Node("SelfAttentionGuidance", {}, 0.0, 0.0)
    said = []
    for add in (False, True):
        graph = Graph()
        model = sag(graph, graph("SmallModel"))
        if add:
            model = graph("CATPruning", model=model, settings=graph("CATPruningSettings", **knobs))
        with pytest.raises(GraphError) as failed:
            graph.run(graph.ksampler(model, steps=STEPS))
        said.append(re.search("'exception_message': (.*?), 'exception_type': (.*?),", str(failed.value)).groups())
    assert said[0] == said[1]
    assert "NoneType" in said[0][0]


def guider(kind, **inputs) -> Build:
    """Sampling with one of the host's guiders; prompts are seeds."""

    def build(graph, cat):
        model = cat(graph("SmallModel"))
        given = {name: prompt(graph, value) if type(value) is int else value for name, value in inputs.items()}
        sigmas = graph("BasicScheduler", model=model, scheduler="simple", steps=STEPS)
        return model, graph.custom(graph(kind, model=model, **given), sigmas, graph("SmallLatent", batch=2))

    return build


def sampler(cfg) -> Build:
    def build(graph, cat):
        model = cat(graph("SmallModel"))
        return model, graph.ksampler(model, steps=STEPS, cfg=cfg, latent_image=graph("SmallLatent", batch=2))

    return build


def dual(style, scale, negative=2) -> Build:
    prompts = {"cond1": 1, "cond2": 3, "negative": negative}
    return guider("DualCFGGuider", style=style, cfg_conds=4.0, cfg_cond2_negative=scale, **prompts)


def perp_neg(scale) -> Build:
    return guider("PerpNegGuider", positive=1, negative=2, empty_conditioning=3, cfg=4.0, neg_scale=scale)


@dataclass(frozen=True)
class Guided:
    """A guider, what was measured with it, and how many prompts it evaluates at a step."""

    build: Build
    tokens: float
    idle: float
    prompts: int


GUIDERS = {
    "KSampler": Guided(sampler(4.0), 0.145, 0.138, 2),
    "KSampler without guidance": Guided(sampler(1.0), 0.116, 0.111, 1),
    "CFGGuider": Guided(guider("CFGGuider", positive=1, negative=2, cfg=4.0), 0.145, 0.138, 2),
    "CFGGuider without guidance": Guided(guider("CFGGuider", positive=1, negative=2, cfg=1.0), 0.116, 0.111, 1),
    "BasicGuider": Guided(guider("BasicGuider", conditioning=1), 0.116, 0.111, 1),
    "DualCFGGuider": Guided(dual("regular", 2.0), 0.148, 0.140, 3),
    "DualCFGGuider, nested": Guided(dual("nested", 2.0), 0.162, 0.174, 3),
    "DualCFGGuider without a negative": Guided(dual("regular", 1.0), 0.151, 0.142, 2),
    "PerpNegGuider": Guided(perp_neg(1.0), 0.154, 0.150, 3),
    "PerpNegGuider without a negative": Guided(perp_neg(0.0), 0.151, 0.142, 2),
}


@pytest.mark.parametrize("name", GUIDERS)
def test_keeping_all_tokens_changes_nothing_with_a_guider(name):
    side = side_by_side(GUIDERS[name].build, keep_ratio=1.0)
    assert torch.equal(side.pruned, side.stock)


@pytest.mark.parametrize("kind", KNOBS)
@pytest.mark.parametrize("name", GUIDERS)
def test_pruned_with_a_guider_it_stays_near_and_equals_the_dense_run(name, kind):
    guided = GUIDERS[name]
    side = side_by_side(guided.build, **KNOBS[kind])
    assert side.run.reasons == []
    assert side.kinds == PLANNED[kind]
    assert {len(step.calls) for step in side.run.steps} == {guided.prompts}
    assert 1e-3 < side.difference < MARGIN * getattr(guided, kind)
    assert relative(side.pruned, dense(guided.build, side.run, **KNOBS[kind])) < SAME


@pytest.mark.parametrize("kind", KNOBS)
@pytest.mark.parametrize(
    "names",
    [("KSampler", "CFGGuider"), ("KSampler without guidance", "CFGGuider without guidance", "BasicGuider")],
)
def test_ways_to_ask_for_the_same_guidance_give_the_same_latent(names, kind):
    first, *others = (side_by_side(GUIDERS[name].build, **KNOBS[kind]) for name in names)
    for other in others:
        assert torch.equal(first.stock, other.stock)
        assert torch.equal(first.pruned, other.pruned)


def test_without_guidance_nothing_is_kept_of_the_negative_prompt():
    guided, alone = (side_by_side(sampler(cfg), **TOKENS).run.cache_bytes for cfg in (4.0, 1.0))
    assert guided == 2 * alone > 0


def test_a_negative_prompt_that_counts_for_nothing_does_not_choose_tokens():
    """Nested with a scale of one, the negative prediction is added and taken off again."""
    one, other = (side_by_side(dual("nested", 1.0, negative), **TOKENS) for negative in (2, 6))
    assert relative(one.stock, other.stock) < SAME
    assert relative(one.pruned, other.pruned) < SAME
