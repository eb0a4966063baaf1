"""Prompts that are joined, kept to areas, masks and parts of the run, or hooked."""

import itertools
from dataclasses import dataclass, field
from functools import cached_property

import folder_paths
import pytest
import torch
from safetensors.torch import save_file

from graphs.host_graph import IDLE, TOKENS, Build, dense, relative, side_by_side
from graphs.prompts import (
    APART,
    KNOBS,
    MARGIN,
    PLANNED,
    SAME,
    STARTS,
    area,
    combined,
    hooked,
    hooked_part,
    hooks,
    masked,
    mixed,
    pair,
    prompt,
    ranged,
    rest_of_the_picture,
    whole_run,
)
from small import WIDTH

pytestmark = pytest.mark.usefixtures("pack")


@pytest.fixture(scope="module", autouse=True)
def _lora(tmp_path_factory):
    """A LoRA of every block's attention, in the host's list."""
    folder = tmp_path_factory.mktemp("loras")
    draw = torch.Generator().manual_seed(4)
    weights = {}
    for layer in (f"diffusion_model.joint_blocks.{i}.x_block.attn.qkv" for i in range(3)):
        weights[f"{layer}.lora_up.weight"] = 0.3 * torch.randn(3 * WIDTH, 4, generator=draw)
        weights[f"{layer}.lora_down.weight"] = 0.3 * torch.randn(4, WIDTH, generator=draw)
    save_file(weights, folder / "of_prompts.safetensors")
    folder_paths.add_model_folder_path("loras", str(folder))


@dataclass(frozen=True)
class Case:
    """What is sampled with, and what was measured.

    Attributes:
        prompts: see :func:`whole_run`.
        tokens: measured distance from the latent without CAT Pruning with pruned steps.
        idle: and with idle steps alone.
        late: kinds of the steps by knobs with which something is computed in full in the middle of the run.
        reason: why.
        dense: whether there is a dense run to compare with: not of parts of a picture that have tokens of their own.
    """

    prompts: object
    tokens: float
    idle: float
    late: dict[str, str] = field(default_factory=dict)
    dense: bool = True
    reason: str = STARTS

    @cached_property
    def build(self) -> Build:
        return whole_run(self.prompts)

    def reasons(self, kind):
        return [self.reason] if kind in self.late else []


CASES = {
    "two positive prompts": Case(lambda g: combined(g, prompt(g, 1), prompt(g, 5)), 0.136, 0.123),
    "two on each side, of three lengths": Case(
        lambda g: {
            "positive": combined(g, prompt(g, 1), prompt(g, 5, tokens=20)),
            "negative": combined(g, prompt(g, 6), prompt(g, 7, tokens=9)),
        },
        0.134,
        0.128,
    ),
    "a longer prompt": Case(lambda g: prompt(g, 1, tokens=20), 0.146, 0.138),
    "one prompt after another in one": Case(lambda g: mixed(g, "ConditioningConcat"), 0.143, 0.133),
    "the mean of two prompts": Case(
        lambda g: mixed(g, "ConditioningAverage", conditioning_to_strength=0.4), 0.141, 0.127
    ),
    "nothing as negative": Case(
        lambda g: {"negative": g("ConditioningZeroOut", conditioning=prompt(g, 2))}, 0.142, 0.134
    ),
    "an area": Case(
        lambda g: combined(g, prompt(g, 1), area(g, prompt(g, 5), 32, 24, 72, 64)), 0.142, 0.132, dense=False
    ),
    "an area in parts of the picture": Case(
        lambda g: combined(
            g, prompt(g, 1), area(g, prompt(g, 5), 0.3, 0.3, 0.5, 0.4, kind="ConditioningSetAreaPercentage")
        ),
        0.143,
        0.132,
        dense=False,
    ),
    "two halves": Case(
        lambda g: combined(g, area(g, prompt(g, 1), 0, 0, 64, 128), area(g, prompt(g, 5), 64, 0, 64, 128)),
        0.193,
        0.136,
        dense=False,
    ),
    "an area that starts late": Case(
        lambda g: combined(g, prompt(g, 1), area(g, ranged(g, 5, 0.5, 1.0), 32, 32, 64, 64)),
        0.140,
        0.133,
        {"tokens": "fffppfppfppf"},
        dense=False,
    ),
    "masks": Case(lambda g: combined(g, masked(g, 1, 0, 64), masked(g, 5, 64, 64)), 0.149, 0.136),
    "masks' bounds": Case(
        lambda g: combined(g, masked(g, 1, 0, 64, "mask bounds"), masked(g, 5, 48, 80, "mask bounds")),
        0.188,
        0.135,
        dense=False,
    ),
    "the rest of the picture": Case(rest_of_the_picture, 0.149, 0.136),
    "one that starts late": Case(
        lambda g: combined(g, prompt(g, 1), ranged(g, 5, 0.5, 1.0)), 0.130, 0.131, {"tokens": "fffppffpfppf"}
    ),
    "one that ends early": Case(
        lambda g: combined(g, prompt(g, 1), ranged(g, 5, 0.0, 0.5)),
        0.147,
        0.138,
        {"tokens": "fffppfpffppf"},
        reason=APART,
    ),
    "one in the middle": Case(
        lambda g: combined(g, prompt(g, 1), ranged(g, 5, 0.3, 0.6)), 0.150, 0.142, {"tokens": "fffpffppfppf"}
    ),
    "one instead of another": Case(
        lambda g: combined(g, ranged(g, 1, 0.0, 0.7), ranged(g, 5, 0.7, 1.0)),
        0.115,
        0.104,
        {"tokens": "fffppfppffpf", "idle": "fffifififfff"},
    ),
    "a negative that ends early": Case(
        lambda g: {"negative": ranged(g, 2, 0.0, 0.5)}, 0.084, 0.156, {"tokens": "fffppfpffppf"}, reason=APART
    ),
    "a negative that starts late": Case(
        lambda g: {"negative": ranged(g, 2, 0.5, 1.0)}, 0.063, 0.071, {"tokens": "fffppffpfppf"}
    ),
    "a LoRA of both": Case(pair, 0.142, 0.134),
    "a LoRA of one side": Case(lambda g: {"positive": hooked(g, 1, hooks(g))}, 0.182, 0.199),
    "a LoRA of one of two": Case(lambda g: combined(g, prompt(g, 1), hooked(g, 5, hooks(g))), 0.174, 0.163),
    "a LoRA that goes": Case(lambda g: pair(g, (1.0, 0.0), (0.0, 0.5)), 0.166, 0.156),
    "a LoRA that comes": Case(lambda g: pair(g, (0.0, 0.0), (1.0, 0.7)), 0.189, 0.203),
    "a LoRA that goes and comes": Case(lambda g: pair(g, (1.0, 0.0), (0.0, 0.4), (1.0, 0.7)), 0.197, 0.198),
    "a LoRA, a mask and a part of the run": Case(hooked_part, 0.146, 0.139, dense=False),
    "a LoRA for the rest of the picture": Case(lambda g: rest_of_the_picture(g, hooks=hooks(g)), 0.206, 0.180),
}


@pytest.mark.parametrize("name", CASES)
def test_keeping_all_tokens_changes_nothing(name):
    side = side_by_side(CASES[name].build, keep_ratio=1.0)
    assert torch.equal(side.pruned, side.stock)


@pytest.mark.parametrize("kind", KNOBS)
@pytest.mark.parametrize("name", CASES)
def test_pruned_it_stays_near_and_equals_the_dense_run(name, kind):
    case = CASES[name]
    side = side_by_side(case.build, **KNOBS[kind])
    assert side.run.reasons == case.reasons(kind)
    assert side.kinds == case.late.get(kind, PLANNED[kind])
    assert 1e-3 < side.difference < MARGIN * getattr(case, kind)
    if case.dense or kind == "idle":
        assert relative(side.pruned, dense(case.build, side.run, **KNOBS[kind])) < SAME


def test_hooks_change_what_is_sampled():
    """Otherwise the cases with a LoRA say nothing."""
    keyframed = [whole_run(lambda g, k=frames: pair(g, *k)) for frames in ((), ((1.0, 0.0), (0.0, 0.5)))]
    stock = [side_by_side(build, **IDLE).stock for build in (whole_run(prompt), *keyframed)]
    assert all(relative(one, other) > 0.01 for one, other in itertools.combinations(stock, 2))


NO_CACHES = "in full: a conditioning has no kept keys and values at a pruned step"


@pytest.mark.parametrize(
    ("start", "kinds", "reasons"),
    [
        (0.15, "fffppfppfppf", []),
        (0.25, "fffppfppfppf", [STARTS]),
        (0.35, "fffppfppfppf", []),
        (0.45, "fffppfppfppf", [STARTS]),
        (0.55, "fffppfppfppf", [STARTS, NO_CACHES]),
    ],
)
def test_a_prompt_for_an_area_may_start_at_any_step_of_a_sampler_that_evaluates_twice(start, kinds, reasons):
    """It may be met at the first evaluation of a pruned step, and chooses tokens of its own at the second."""

    def prompts(graph):
        late = area(graph, ranged(graph, 5, start, 1.0), 32, 32, 64, 64)
        return {"positive": combined(graph, prompt(graph, 1), late), "sampler_name": "heun"}

    side = side_by_side(whole_run(prompts), **TOKENS)
    assert (side.kinds, side.run.reasons) == (kinds, reasons)
    assert 1e-3 < side.difference < MARGIN * 0.143
