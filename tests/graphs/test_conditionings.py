"""Prompts that are joined, kept to areas, masks and parts of the run, hooked, or parted by the host's memory."""

import itertools
from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace

import comfy.conds
import comfy.model_base
import comfy.samplers
import folder_paths
import numpy as np
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from safetensors.torch import save_file

from graphs.host_graph import IDLE, TOKENS, Build, Graph, dense, relative, side_by_side
from small import WIDTH

pytestmark = pytest.mark.usefixtures("pack")

KNOBS = {"tokens": TOKENS, "idle": IDLE}
PLANNED = {"tokens": "fffppfppfppf", "idle": "fffififififf"}
STEPS = 12
SAME = 1e-4
"""Relative distance of latents that only differ in how the processor rounds; measured up to 1e-6."""
MARGIN = 2
"""How much farther from the latent without CAT Pruning one may be than was measured."""
STARTS = "in full: a conditioning starts in the middle of the run"
LENGTH = "in full: a conditioning changes its length in the middle of the run"
APART = "in full: conditionings are evaluated together in another way than before"


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


def prompt(graph, seed=1, tokens=7):
    return graph("SmallPrompt", seed=seed, tokens=tokens)


def combined(graph, *prompts):
    both = prompts[0]
    for other in prompts[1:]:
        both = graph("ConditioningCombine", conditioning_1=both, conditioning_2=other)
    return both


def area(graph, of, x, y, width, height, kind="ConditioningSetArea"):
    """A prompt for a part of the picture, in pixels of 128 x 128."""
    place = {"x": x, "y": y, "width": width, "height": height}
    return graph(kind, conditioning=of, strength=0.8, **place)


def mask(graph, x, width):
    """White from ``x`` on, so wide and as high as the picture."""
    white = graph("SolidMask", value=1.0, width=width, height=128)
    black = graph("SolidMask", value=0.0, width=128, height=128)
    return graph("MaskComposite", destination=black, source=white, x=x, y=0, operation="add")


def masked(graph, seed, x, width, where="default"):
    part = {"mask": mask(graph, x, width), "strength": 1.0, "set_cond_area": where}
    return graph("ConditioningSetMask", conditioning=prompt(graph, seed), **part)


def ranged(graph, seed, start, end, tokens=7):
    return graph("ConditioningSetTimestepRange", conditioning=prompt(graph, seed, tokens), start=start, end=end)


def hooks(graph, *keyframes):
    """The LoRA; keyframes are (strength, from this part of the run on)."""
    lora = graph("CreateHookLora", lora_name="of_prompts.safetensors", strength_model=1.0, strength_clip=0.0)
    last = {}
    for strength, start in keyframes:
        last = {"prev_hook_kf": graph("CreateHookKeyframe", strength_mult=strength, start_percent=start, **last)}
    return graph("SetHookKeyframes", hooks=lora, hook_kf=last["prev_hook_kf"]) if last else lora


def hooked(graph, seed, lora, **more):
    inputs = {"cond_NEW": prompt(graph, seed), "strength": 1.0, "set_cond_area": "default", "hooks": lora, **more}
    return graph("ConditioningSetProperties", **inputs)


def pair(graph, *keyframes):
    inputs = {"positive_NEW": prompt(graph, 1), "negative_NEW": prompt(graph, 2), "hooks": hooks(graph, *keyframes)}
    both = graph("PairConditioningSetProperties", strength=1.0, set_cond_area="default", **inputs)
    return {"positive": both, "negative": both[1]}


def hooked_part(graph):
    """A LoRA, a mask and a part of the run for one prompt beside another."""
    inputs = {"cond": prompt(graph, 1), "cond_NEW": prompt(graph, 5), "hooks": hooks(graph)}
    when = graph("ConditioningTimestepsRange", start_percent=0.0, end_percent=0.5)
    where = {"mask": mask(graph, 0, 64), "strength": 0.7, "set_cond_area": "mask bounds"}
    return graph("ConditioningSetPropertiesAndCombine", timesteps=when, **where, **inputs)


def rest_of_the_picture(graph, **lora):
    """A prompt wherever no other one is."""
    left, rest = masked(graph, 1, 0, 64), prompt(graph, 5)
    return graph("ConditioningSetDefaultCombine", cond=left, cond_DEFAULT=rest, **lora)


def mixed(graph, kind, **more):
    return graph(kind, conditioning_to=prompt(graph, 1), conditioning_from=prompt(graph, 5, tokens=9), **more)


def whole_run(prompts) -> Build:
    """A graph that samples with ``prompts(graph)``: the positive one, or inputs of the sampler by name."""

    def build(graph, cat):
        model, given = cat(graph("SmallModel")), prompts(graph)
        given = given if isinstance(given, dict) else {"positive": given}
        return model, graph.ksampler(model, steps=STEPS, **given)

    return build


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


LEFT, RIGHT, MIDDLE = (0, 0, 64, 128), (64, 0, 64, 128), (32, 24, 72, 64)


def parts_of_a_picture(*areas):
    """Each with its own positive and negative prompt, and nothing for the rest."""

    def build(graph, cat):
        prompts = {
            name: combined(
                graph, *(area(graph, prompt(graph, seed + 2 * number), *part) for number, part in enumerate(areas))
            )
            for name, seed in (("positive", 1), ("negative", 2))
        }
        return guided(graph, cat, graph("SmallLatent", picture=True), **prompts)

    return build


def cut_out(part, number=0):
    """The same part as a picture by itself, with the prompts that the n-th part has."""

    def build(graph, cat):
        x, y, width, height = part
        latent = graph("LatentCrop", samples=graph("SmallLatent", picture=True), x=x, y=y, width=width, height=height)
        prompts = {"positive": prompt(graph, 1 + 2 * number), "negative": prompt(graph, 2 + 2 * number)}
        return guided(graph, cat, latent, **prompts)

    return build


def guided(graph, cat, latent, **prompts):
    """Without fresh noise, which would not be the same for a part and the whole."""
    model = cat(graph("SmallModel"))
    inputs = {
        "noise": graph("DisableNoise"),
        "guider": graph("CFGGuider", model=model, cfg=4.0, **prompts),
        "sampler": graph("KSamplerSelect", sampler_name="euler"),
        "sigmas": graph("BasicScheduler", model=model, scheduler="simple", steps=STEPS, denoise=0.8),
    }
    return model, graph("SamplerCustomAdvanced", latent_image=latent, **inputs)


def inside(latent, part):
    x, y, width, height = (side // 8 for side in part)
    return latent[..., y : y + height, x : x + width]


@pytest.mark.parametrize("kind", KNOBS)
@pytest.mark.parametrize("part", [LEFT, RIGHT, MIDDLE])
def test_a_part_alone_in_the_picture_is_the_part_cut_out(part, kind):
    whole, cut = (side_by_side(build, **KNOBS[kind]) for build in (parts_of_a_picture(part), cut_out(part)))
    assert relative(inside(whole.stock, part), cut.stock) < SAME
    assert relative(inside(whole.pruned, part), cut.pruned) < SAME
    assert cut.difference > 1e-3


def test_two_parts_without_selected_tokens_are_the_parts_cut_out():
    whole = side_by_side(parts_of_a_picture(LEFT, RIGHT), **IDLE)
    for number, part in enumerate((LEFT, RIGHT)):
        cut = side_by_side(cut_out(part, number), **IDLE)
        assert relative(inside(whole.pruned, part), cut.pruned) < SAME


def test_two_parts_of_one_size_choose_tokens_of_their_own():
    whole = side_by_side(parts_of_a_picture(LEFT, RIGHT), **TOKENS)
    for number, part in enumerate((LEFT, RIGHT)):
        cut = side_by_side(cut_out(part, number), **TOKENS)
        assert relative(inside(whole.stock, part), cut.stock) < SAME
        assert relative(inside(whole.pruned, part), cut.pruned) < SAME


def focusing(focused, *areas):
    """Sample parts of a picture with a focus mask and a keep ratio of zero; return the run and the latent."""
    graph = Graph()
    where = mask(graph, focused[0], focused[2])
    settings = graph("CATPruningSettings", **{**TOKENS, "keep_ratio": 0.0}, focus_mask=where)
    build = parts_of_a_picture(*areas)
    model, latent = build(graph, lambda unpatched: graph("CATPruning", model=unpatched, settings=settings))
    made, patcher = graph.run(latent, model)
    return patcher.attachments["cat_pruning"].reports[-1][1], made


@pytest.mark.parametrize(("focused", "least", "most"), [(LEFT, 0, 1), (RIGHT, 32, 32)])
def test_a_focus_mask_is_one_of_the_picture_for_a_part_of_it_too(focused, least, most):
    """With a keep ratio of zero tokens under it are computed: of the right part, all or (all but) none."""
    run, _ = focusing(focused, RIGHT)
    assert all(least <= call.computed <= most for call in run.steps[3].calls)


def test_parts_of_one_size_compute_as_many_tokens_as_the_focus_mask_asks_of_one_of_them():
    """They may share a call, which has as many tokens of each."""
    run, latent = focusing((64, 0, 32, 128), LEFT, RIGHT)
    assert run.reasons == []
    assert {call.computed for step in run.steps for call in step.calls if step.kind == "pruned"} == {16}
    assert run.count("pruned") == PLANNED["tokens"].count("p")
    stock = side_by_side(parts_of_a_picture(LEFT, RIGHT), **IDLE).stock
    assert 1e-3 < relative(latent, stock) < MARGIN * 0.395


def chosen_after_refreshes(prompts):
    """Tokens that the first pruned step behind every refresh chose, by change alone and without a forecast."""
    knobs = {**TOKENS, "forecast": 0.0, "cluster_share": 1.0, "staleness_decay": 0.0}

    def build(graph, cat):
        model = cat(graph("SmallModel"))
        return model, graph.ksampler(model, steps=16, positive=prompts(graph))

    steps = side_by_side(build, **knobs).run.steps
    return [
        after.selected for before, after in itertools.pairwise(steps) if (before.kind, after.kind) == ("full", "pruned")
    ]


def test_tokens_are_chosen_anew_after_every_refresh():
    """The next test means something only if they are, with a prompt that stays."""
    chosen = chosen_after_refreshes(prompt)
    assert len(chosen) > 3
    assert not any(np.array_equal(one, other) for one, other in itertools.pairwise(chosen))


def test_tokens_are_chosen_by_a_prompt_that_is_still_there():
    chosen = chosen_after_refreshes(lambda g: combined(g, ranged(g, 1, 0.0, 0.3), ranged(g, 5, 0.3, 1.0)))
    assert not any(np.array_equal(one, other) for one, other in itertools.pairwise(chosen))


@pytest.mark.parametrize(
    "prompts",
    [
        pytest.param(prompt, id="alone"),
        pytest.param(
            # of another length it is called apart: no other prompt is computed in full with it
            lambda g: combined(g, prompt(g), ranged(g, 5, 0.35, 1.0, tokens=9)),
            id="beside one that starts late",
        ),
    ],
)
def test_tokens_take_turns_from_step_to_step(prompts):
    """With half of the tokens and no clusters' share, a step takes those that the step before left out."""
    steps = side_by_side(whole_run(prompts), **{**TOKENS, "cluster_share": 0.0, "refresh_interval": 0}).run.steps
    chosen = [step.selected for step in steps if step.selected is not None]
    assert len(chosen) == STEPS - 4
    assert not any((one & other).any() for one, other in itertools.pairwise(chosen))


class ShortMemory:
    """A host without memory for more than one conditioning in a call, at evaluations that ``apart`` says."""

    def __init__(self, monkeypatch, apart):
        self.apart, self.count, self.batches = apart, -1, []
        real = comfy.samplers._calc_cond_batch, comfy.model_base.BaseModel._apply_model

        def evaluate(*args):
            self.count += 1
            return real[0](*args)

        def apply_model(model, x, *args, **kwargs):
            self.batches.append(len(x))
            return real[1](model, x, *args, **kwargs)

        monkeypatch.setattr(comfy.samplers, "_calc_cond_batch", evaluate)
        monkeypatch.setattr(comfy.model_base.BaseModel, "_apply_model", apply_model)
        # the sampler's alone: what caches are allowed is another matter
        if hasattr(ModelPatcher, "get_free_memory"):
            monkeypatch.setattr(ModelPatcher, "get_free_memory", self.free)
        else:
            monkeypatch.setattr(comfy.samplers, "model_management", SimpleNamespace(get_free_memory=self.free))

    def free(self, *_):
        return 0 if self.apart(self.count % STEPS) else 10**15


SPLITS = {
    "always": lambda step: True,
    "every other step": lambda step: step % 2 == 1,
    "from a pruned step on": lambda step: step >= 6,
    "up to a refresh": lambda step: step < 5,
}


PARTED = {"every other step": "ffffpfppfppf", "from a pruned step on": "fffppffpfppf"}
"""Steps where pruned calls are parted that were not yet when they were proved right: these are computed in full."""


def three_prompts(graph):
    return combined(graph, prompt(graph, 1), prompt(graph, 5))


@pytest.mark.parametrize("kind", KNOBS)
@pytest.mark.parametrize("split", SPLITS)
def test_prompts_that_memory_parts_give_the_latent_they_give_together(monkeypatch, split, kind):
    together = side_by_side(whole_run(three_prompts), **KNOBS[kind])
    memory = ShortMemory(monkeypatch, SPLITS[split])
    apart = side_by_side(whole_run(three_prompts), **KNOBS[kind])
    assert set(memory.batches) == ({1} if split == "always" else {1, 3})
    assert relative(apart.stock, together.stock) < SAME
    if kind == "tokens" and split in PARTED:
        assert apart.run.reasons == [APART]
        assert apart.kinds == PARTED[split]
        assert relative(apart.pruned, dense(whole_run(three_prompts), apart.run, **TOKENS)) < SAME
        return
    assert apart.run.reasons == []
    assert apart.kinds == PLANNED[kind]
    assert relative(apart.pruned, together.pruned) < SAME
    for one, other in zip(apart.run.steps, together.run.steps, strict=True):
        assert np.array_equal(one.selected, other.selected)


@pytest.mark.parametrize("split", SPLITS)
def test_keeping_all_tokens_changes_nothing_where_memory_parts_prompts(monkeypatch, split):
    ShortMemory(monkeypatch, SPLITS[split])
    side = side_by_side(whole_run(three_prompts), keep_ratio=1.0)
    assert torch.equal(side.pruned, side.stock)


@pytest.mark.parametrize(("kind", "step"), [("tokens", 6), ("idle", 7)])
def test_a_prompt_whose_length_changes_with_the_split_is_computed_in_full_once(monkeypatch, kind, step):
    """As in models where the host repeats the shorter of two prompts that run together."""
    real = comfy.model_base.SD3.extra_conds

    def repeatable(model, **kwargs):
        given = real(model, **kwargs)
        return {**given, "c_crossattn": comfy.conds.CONDCrossAttn(given["c_crossattn"].cond)}

    monkeypatch.setattr(comfy.model_base.SD3, "extra_conds", repeatable)
    # together there are 14 text tokens of both, apart 7 of the negative, which is called first then
    ShortMemory(monkeypatch, lambda number: number >= step)
    side = side_by_side(whole_run(lambda g: prompt(g, 1, tokens=14)), **KNOBS[kind])
    # the other prompt is called alone for the first time, which no proof was of
    few, reasons, first = {"tokens": (32, [LENGTH, APART], [64, 64]), "idle": (0, [LENGTH], [64, 0])}[kind]
    assert side.run.reasons == reasons
    assert [call.computed for call in side.run.steps[step].calls] == first
    later = [call.computed for after in side.run.steps[step + 1 :] for call in after.calls]
    assert later.count(few) == 2 * PLANNED[kind][step + 1 :].count(kind[0].replace("t", "p"))
    assert 1e-3 < side.difference < MARGIN * 0.16


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
