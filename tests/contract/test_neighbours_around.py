"""Nodes around the model: guiders, caches and wrappers of others, and clones that the host makes while it samples."""

import uuid
from dataclasses import replace

import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras import nodes_custom_sampler, nodes_easycache

from cat_core.host.journal import IDLE_INSTEAD, IN_FULL
from cat_core.host.patcher import attach, last_report
from contract.idle import idle_instead, relative_error
from contract.oracle import Oracle
from contract.test_proof import TOKENS
from zoo import CASES

FLUX = CASES["flux dev"]
SIZE = FLUX.sizes["wide"]


@torch.no_grad()
def guided(guider, steps=10, case=FLUX):
    """The path of the host's SamplerCustomAdvanced node."""
    sampling = guider.model_patcher.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", steps)
    noise = case.noise(1, case.sizes["wide"])
    sampler = comfy.samplers.sampler_object("euler")
    return guider.sample(noise, torch.zeros_like(noise), sampler, sigmas, disable_pbar=True, seed=1)


def with_prompts(guider):
    guider.set_conds(FLUX.conditioning(1), FLUX.conditioning(2))
    guider.set_cfg(4.0)
    return guider


class OtherForward(comfy.samplers.CFGGuider):
    """As ComfyUI-NAG's: while it samples the transformer computes by another function, twice and with another text."""

    def sample(self, *args, **kwargs):
        transformer = self.model_patcher.model.diffusion_model
        stock = transformer.forward

        def forward(x, timestep, context, *args, **kwargs):
            away = stock(x, timestep, context.flip(1), *args, **kwargs)
            return 1.5 * stock(x, timestep, context, *args, **kwargs) - 0.5 * away

        transformer.forward = forward
        try:
            return super().sample(*args, **kwargs)
        finally:
            del transformer.forward


class OtherPath(OtherForward):
    """As the same pack's: the sampler's question goes past the host's wrappers."""

    def __call__(self, *args, **kwargs):
        return self.predict_noise(*args, **kwargs)


def test_a_guider_that_replaces_the_transformers_forward():
    reason = idle_instead(FLUX.build(), TOKENS, lambda model: guided(with_prompts(OtherForward(model))))
    assert reason == f"{IDLE_INSTEAD}: another node replaces diffusion_model.forward"


def test_a_guider_that_goes_past_the_hosts_wrappers():
    model = FLUX.build()
    pruned = attach(model, TOKENS)
    assert torch.equal(guided(with_prompts(OtherPath(pruned))), guided(with_prompts(OtherPath(model))))
    (reason,) = last_report(pruned).reasons
    assert reason == f"{IN_FULL}: the host calls the model outside its samplers' usual path"


@pytest.fixture
def two_models():
    """The host's guider with the positive prompt for a model and the negative one for another."""
    node = getattr(nodes_custom_sampler, "DualModelGuider", None)
    if node is None:
        pytest.skip("this host has no DualModelGuider")
    prompts = {"positive": FLUX.conditioning(1), "negative": FLUX.conditioning(2)}
    return lambda model, negative: guided(node.execute(model, cfg=4.0, model_negative=negative, **prompts)[0])


def test_tokens_of_a_second_model_of_the_same_kind_are_pruned_too(two_models):
    model, second = FLUX.build(), FLUX.build(seed=3)
    pruned = attach(model, TOKENS)
    picture = two_models(pruned, second)
    report = last_report(pruned)
    assert report.reasons == []
    assert {call.computed < call.tokens for step in report.steps[3:] for call in step.calls} == {True}
    assert all(len(step.calls) == 2 for step in report.steps)
    assert relative_error(picture, two_models(Oracle(report, TOKENS).attach(model), second)) < 1e-4


@pytest.mark.skipif("ideogram 4" not in CASES, reason="this host has no Ideogram 4")
def test_ideogram_whose_second_model_has_no_text():
    case = CASES["ideogram 4"]
    model, second = case.build(), case.build(seed=3)

    def sample(patched):
        guider = nodes_custom_sampler.DualModelGuider.execute(patched, case.conditioning(1), 4.0, second)[0]
        return guided(guider, case=case)

    pruned = attach(model, TOKENS)
    picture = sample(pruned)
    report = last_report(pruned)
    assert report.reasons == []
    assert sorted({call.text for step in report.steps for call in step.calls}) == [0, 7]
    assert report.count("pruned") == 7
    assert relative_error(picture, sample(Oracle(report, TOKENS, case.patch).attach(model))) < 1e-4


@pytest.mark.parametrize("case", [replace(FLUX, unet={**FLUX.unet, "depth": 1}), CASES["chroma"]])
def test_a_second_model_of_another_kind(two_models, case):
    second = case.build()
    reason = idle_instead(FLUX.build(), TOKENS, lambda model: two_models(model, second))
    assert reason == f"{IDLE_INSTEAD}: a second model of another kind takes part in the run"


class Swapping(comfy.samplers.CFGGuider):
    """Goes on with another model from the sixth step on."""

    def __init__(self, model, second):
        super().__init__(model)
        second.pre_run()
        self.models = [second.model] * 4 + [model.model] * 6

    def predict_noise(self, *args, **kwargs):
        self.inner_model = self.models.pop()
        return super().predict_noise(*args, **kwargs)


def test_nothing_that_one_model_answered_is_used_for_another():
    model, second = FLUX.build(), FLUX.build(seed=3)
    pruned = attach(model, TOKENS)
    picture = guided(with_prompts(Swapping(pruned, second)))
    report = last_report(pruned)
    assert report.reasons == [f"{IN_FULL}: a conditioning is evaluated by another model than before"]
    assert [step.kind for step in report.steps] == ["full"] * 3 + ["pruned"] * 3 + ["full"] + ["pruned"] * 3
    dense = Oracle(report, TOKENS).attach(model)
    assert relative_error(picture, guided(with_prompts(Swapping(dense, second)))) < 1e-4


def test_the_second_model_of_a_run_carries_nothing_into_it(two_models):
    model, second = FLUX.build(), FLUX.build(seed=3)
    pruned = attach(second, TOKENS)
    assert torch.equal(two_models(model, pruned), two_models(model, second))
    assert last_report(pruned) is None
    both = attach(model, TOKENS)
    assert torch.equal(two_models(both, pruned), two_models(attach(model, TOKENS), second))
    assert last_report(both).count("pruned") >= 2


def easy(model):
    return nodes_easycache.EasyCacheNode.execute(model, 0.5, 0.1, 0.95, False)[0]


def lazy(model):
    return nodes_easycache.LazyCacheNode.execute(model, 0.3, 0.1, 0.95, False)[0]


def test_the_hosts_cache_below_the_model_goes_on_beside_idle_steps():
    model, noise = FLUX.build(), FLUX.noise(1, SIZE)
    expected = FLUX.sample(attach(easy(model), TOKENS.without_tokens()), noise)
    assert not torch.equal(expected, FLUX.sample(attach(model, TOKENS.without_tokens()), noise)), "the cache is used"
    for patched in (attach(easy(model), TOKENS), easy(attach(model, TOKENS))):
        assert torch.equal(FLUX.sample(patched, noise), expected)
        assert last_report(patched).reasons == [f"{IDLE_INSTEAD}: the model is given the options easycache"]
        assert last_report(patched).count("pruned") == 0
        assert last_report(patched).count("idle") >= 2


def test_the_hosts_cache_of_whole_steps_is_alone_at_work():
    """It takes a forecast for the model's answer, sees no change, and would not call the model again."""
    model, noise = FLUX.build(), FLUX.noise(1, SIZE)
    expected = FLUX.sample(lazy(model), noise)
    assert not torch.equal(expected, FLUX.sample(model, noise)), "the cache is used"
    for patched in (attach(lazy(model), TOKENS), lazy(attach(model, TOKENS))):
        assert torch.equal(FLUX.sample(patched, noise), expected)
        (reason,) = last_report(patched).reasons
        assert reason.startswith(f"{IN_FULL}: LazyCache")


def wrapping(kind, wrapper):
    def node(model):
        clone = model.clone()
        clone.add_wrapper_with_key(kind, "another", wrapper)
        return clone

    return node


@pytest.mark.parametrize("kind", [WrappersMP.APPLY_MODEL, WrappersMP.DIFFUSION_MODEL])
@pytest.mark.parametrize("before", [True, False])
def test_wrappers_of_others_around_the_model(kind, before):
    node = wrapping(kind, lambda executor, x, *args, **kwargs: 0.9 * executor(x, *args, **kwargs))
    noise = FLUX.noise(1, SIZE)
    named = f"{IDLE_INSTEAD}: another node wraps the model (another)"
    if before:
        assert idle_instead(node(FLUX.build()), TOKENS, lambda model: FLUX.sample(model, noise)) == named
        return
    patched, idle = (node(attach(FLUX.build(), settings)) for settings in (TOKENS, TOKENS.without_tokens()))
    assert torch.equal(FLUX.sample(patched, noise), FLUX.sample(idle, noise))
    assert last_report(patched).reasons == [named]
    assert last_report(patched).count("idle") >= 2


def cut(executor, x, t, concat=None, context=None, control=None, options=None, **extra):
    """One sample at a time, to save memory; what the call says of itself stays as it was."""
    rows = [slice(number, number + 1) for number in range(len(x))]
    parts = {name: extra.pop(name) for name, value in [*extra.items()] if len(value) == len(x)}
    return torch.cat(
        [
            executor(
                x[r], t[r], concat, context[r], control, options, **{**extra, **{n: v[r] for n, v in parts.items()}}
            )
            for r in rows
        ]
    )


def renamed(executor, x, t, concat=None, context=None, control=None, options=None, **extra):
    """Names that are not as many as conditionings."""
    options = {**options, "uuids": [*options["uuids"], uuid.uuid4()]}
    return executor(x, t, concat, context, control, options, **extra)


@pytest.mark.parametrize("wrapper", [cut, renamed])
def test_calls_that_are_not_what_they_say(wrapper):
    """Such a wrapper around ours: who is evaluated cannot be told, so everything is computed."""
    model, noise = FLUX.build(), FLUX.noise(1, SIZE)
    pruned = attach(wrapping(WrappersMP.APPLY_MODEL, wrapper)(model), TOKENS)
    picture = FLUX.sample(pruned, noise)
    report = last_report(pruned)
    assert report.reasons == [f"{IN_FULL}: the host calls the model outside its samplers' usual path"]
    assert report.count("pruned") == report.count("idle") == 0
    assert relative_error(picture, FLUX.sample(model, noise)) < 1e-4


def test_a_batch_that_is_cut_in_two_by_another_node():
    """Two pictures and two prompts: each half of the call looks like a call of its own."""
    model, noise = FLUX.build(), FLUX.noise(2, SIZE)

    def halves(executor, x, t, concat=None, context=None, control=None, options=None, **extra):
        parts = zip(*(v.chunk(2) for v in (x, t, context)), *(v.chunk(2) for v in extra.values()), strict=True)
        return torch.cat(
            [
                executor(x, t, concat, context, control, options, **dict(zip(extra, more, strict=True)))
                for x, t, context, *more in parts
            ]
        )

    pruned = attach(wrapping(WrappersMP.APPLY_MODEL, halves)(model), TOKENS)
    picture = FLUX.sample(pruned, noise)
    report = last_report(pruned)
    assert report.reasons[0].startswith(f"{IN_FULL}: a conditioning is evaluated for other pictures than the run's")
    assert report.count("full") == len(report.steps)
    assert relative_error(picture, FLUX.sample(model, noise)) < 1e-4


def test_clones_that_are_made_inside_the_sampler():
    model = attach(FLUX.build(), TOKENS)

    class Delegating(comfy.samplers.CFGGuider):
        """As the host does for models that it streams, where prompts have hooks."""

        def inner_set_conds(self, conds):
            self.model_patcher = self.model_patcher.clone()
            super().inner_set_conds(conds)

    picture = guided(with_prompts(Delegating(model)))
    assert last_report(model).count("pruned") >= 2
    assert last_report(model).reasons == []
    assert torch.equal(picture, guided(with_prompts(comfy.samplers.CFGGuider(model))))
