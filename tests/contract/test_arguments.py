"""What the host's nodes give a model beside text: pruned steps are right with it, or there are idle ones instead."""

import inspect
from dataclasses import replace
from types import SimpleNamespace

import comfy.conds
import comfy.ldm.lightricks.model
import comfy.model_base
import comfy.samplers
import comfy_extras.nodes_flux
import comfy_extras.nodes_lt
import pytest
import torch

from cat_core.host.journal import IDLE_INSTEAD
from cat_core.settings import PAPER
from contract.idle import idle_instead
from contract.test_families import against_oracle
from zoo import CASES
from zoo.case import Case

pytestmark = pytest.mark.host

TOKENS = replace(PAPER, warmup_steps=3)
DRAW = torch.Generator().manual_seed(11)
# the host adds guidance and pooled text to one of two noise levels only: models without these
PLAIN = {
    "flux 2 klein": replace(CASES["flux 2"], unet={**CASES["flux 2"].unet, "guidance_embed": False}),
    "qwen-image": CASES["qwen-image"],
}
KV_CACHE = getattr(comfy_extras.nodes_flux, "FluxKVCache", None)
ZERO = "index_timestep_zero"


def idle_reason(case, model=None, size="wide", **extra):
    """Why a small model has idle steps only when it is given so much more, which the host must know of."""
    case = case if isinstance(case, Case) else CASES[case]
    model, noise = model or case.build(), case.noise(1, case.sizes[size])
    return idle_instead(model, TOKENS, lambda m: case.sample(m, noise, **extra)).removeprefix(f"{IDLE_INSTEAD}: ")


def needs(condition, what):
    if not condition:
        pytest.skip(f"this host has no {what}")


def passed_on(kind, name):
    """Whether the host's class of models gives a conditioning's entry to the transformer."""
    return f'"{name}"' in inspect.getsource(kind.extra_conds)


def references(case, *widths, size="wide"):
    """Latents as high as the case's, of these widths."""
    return [torch.randn(1, case.channels, *case.sizes[size][:-1], width, generator=DRAW) for width in widths]


# reference latents


@pytest.mark.parametrize("method", [None, "index", "negative_index", "offset"])
@pytest.mark.parametrize("widths", [(20, 8), (6, 24, 12)], ids=["two", "three"])
def test_references_of_unlike_sizes_are_computed_in_full(method, widths):
    case = CASES["qwen-image"]
    latents = references(case, *widths)
    chosen = {} if method is None else {"reference_latents_method": method}
    behind = sum(case.tokens(tuple(latent.shape[2:])) for latent in latents)
    prompt = {"reference_latents": latents, **chosen}
    assert against_oracle(case, TOKENS, 1, case.sizes["wide"], behind=behind, **prompt) < 1e-4


@pytest.mark.parametrize("method", ["index", "offset", "uxo"])
def test_two_references_of_flux_by_every_method(method):
    case = CASES["flux dev"]
    latents = references(case, 8, 14)
    behind = sum(case.tokens(tuple(latent.shape[2:])) for latent in latents)
    prompt = {"reference_latents": latents, "reference_latents_method": method}
    assert against_oracle(case, TOKENS, 1, case.sizes["wide"], behind=behind, **prompt) < 1e-4


@pytest.mark.parametrize("case", PLAIN.values(), ids=PLAIN)
def test_references_of_a_noise_level_of_their_own(case):
    """Their modulation goes by rows that pruning moves."""
    latents = references(case, 6, 10)
    reason = idle_reason(case, reference_latents=latents, reference_latents_method=ZERO)
    assert reason == f"reference latents by the method {ZERO}"


class Preset(Case):
    """A model whose own way with references is this one."""

    def build(self, seed=0):
        model = super().build(seed)
        transformer = model.model.diffusion_model
        getattr(transformer, "params", transformer).default_ref_method = ZERO
        return model


@pytest.mark.parametrize("case", PLAIN.values(), ids=PLAIN)
def test_the_same_by_the_models_own_default(case):
    """As Qwen-Image-Edit-2511 has it."""
    reason = idle_reason(Preset(**vars(case)), reference_latents=references(case, 6))
    assert reason == f"reference latents by the method {ZERO}"


@pytest.mark.parametrize("case", PLAIN.values(), ids=PLAIN)
def test_that_default_without_references_is_nothing_to_mind(case):
    assert against_oracle(Preset(**vars(case)), TOKENS, 1, case.sizes["wide"]) < 1e-4


@pytest.mark.parametrize("case", PLAIN.values(), ids=PLAIN)
def test_cached_references_do_not_reach_the_next_run(case):
    """The host's FluxKVCache keeps keys and values of references by itself; two runs, each with another reference."""
    needs(KV_CACHE, "FluxKVCache")
    noise, (first, second) = case.noise(1, case.sizes["wide"]), references(case, 10, 6)
    seen = []

    def sample(model):
        pictures = [case.sample(model, noise, reference_latents=[latent]) for latent in (first, second)]
        seen.append(pictures)
        return pictures[-1]

    (model,) = KV_CACHE.execute(case.build()).args
    assert "default_ref_method" in idle_instead(model, TOKENS, sample)
    assert all(not torch.equal(*pictures) for pictures in seen)


def test_the_patch_of_cached_references_alone_is_seen_too():
    needs(KV_CACHE, "FluxKVCache")
    case = PLAIN["flux 2 klein"]
    (model,) = KV_CACHE.execute(case.build()).args
    model.object_patches.clear()
    reason = idle_reason(case, model, reference_latents=references(case, 10))
    assert reason == "another node adds to transformer blocks (attn1_patch, post_input)"


# videos


def test_in_context_references_of_wan():
    needs(passed_on(comfy.model_base.WAN21, "context_latents"), "context_latents")
    latents = [torch.randn(1, 16, 1, 6, 10, generator=DRAW)]
    assert idle_reason("wan t2v", context_latents=latents) == "the model is given context_latents"


@pytest.mark.parametrize("kind", ["double_block", "attn1_patch", "attn2_patch"])
def test_patches_inside_the_blocks_of_wan(kind):
    model, calls = CASES["wan t2v"].build(), []

    def patch(args):
        calls.append(kind)
        key = "img" if kind == "double_block" else "x"
        changed = args[key] * 1.1
        return {"img": changed} if kind == "double_block" else changed

    model.set_model_patch(patch, kind)
    assert idle_reason("wan t2v", model) == f"another node adds to transformer blocks ({kind})"
    needs(calls, f"{kind} in Wan: it is asked for and not done")


def key_frames(case, size, guides=()):
    """Arguments as the host's node adds them for a key frame: its positions, and a mask of the frames to be made.

    The key frame is the latent's last one and belongs to the 9th picture of the video.
    """
    frame = torch.randn(1, case.channels, 1, *size[1:], generator=DRAW)
    ((_, entries),) = comfy_extras.nodes_lt.LTXVAddGuide.add_keyframe_index([[None, {}]], 9, frame, (8, 32, 32))
    mask = torch.ones(1, 1, *size)
    mask[:, :, -1] = 0.2
    return {**entries, "noise_mask": mask, **({"guide_attention_entries": list(guides)} if guides else {})}


GUIDE = {"pre_filter_count": 25, "strength": 1.0, "pixel_mask": None, "latent_shape": (1, 5, 5)}


@pytest.mark.parametrize("guides", [(), (GUIDE,)], ids=["key frame", "as a guide"])
def test_key_frames_of_ltx_video_are_pruned_as_other_frames(guides):
    case = CASES["ltxv"]
    size = case.sizes["square"]
    assert against_oracle(case, TOKENS, 1, size, **key_frames(case, size, guides)) < 1e-4


@pytest.mark.parametrize(
    "change", [{"strength": 0.5}, {"pixel_mask": torch.full((1, 1, 1, 5, 5), 0.5)}], ids=["strength", "mask"]
)
def test_guides_of_a_strength_of_their_own(change):
    """Hosts split attention for these into parts."""
    needs(passed_on(comfy.model_base.LTXV, "guide_attention_entries"), "guide_attention_entries")
    case = CASES["ltxv"]
    given = key_frames(case, case.sizes["square"], [{**GUIDE, **change}])
    assert idle_reason("ltxv", size="square", **given) == "key frames have a strength of their own"


def test_key_frames_with_holes_leave_rows_out():
    """A guide of lower resolution has a mask below zero between its tokens, which the host takes out."""
    needs("grid_mask" in inspect.getsource(comfy.ldm.lightricks.model), "guides with holes")
    case = CASES["ltxv"]
    given = key_frames(case, case.sizes["square"])
    given["noise_mask"][:, :, -1, ::2] = -1.0
    noise = case.noise(1, case.sizes["square"])
    reason = idle_instead(case.build(), TOKENS, lambda m: case.sample(m, noise, **given), by_proof=True)
    assert reason.startswith(f"{IDLE_INSTEAD}: proof failed, LayoutError: 2 x 60 rows where")


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("guiding_frame_index", 0),
        ("ref_latent", torch.randn(1, 16, 1, 6, 10, generator=DRAW)),
    ],
)
def test_guiding_pictures_of_hunyuan_video(monkeypatch, name, given):
    """A frame with a modulation of its own, and tokens in front of the video."""
    # the host takes the latter for one conditioning at a time only
    monkeypatch.setattr(comfy.samplers, "can_concat_cond", lambda one, other: one is other)
    assert idle_reason("hunyuan video", **{name: given}) == f"the model is given {name}"


# pictures


def test_references_of_z_image():
    needs(passed_on(comfy.model_base.Lumina2, "reference_latents"), "references of Z-Image")
    latents = references(CASES["z-image"], 8)
    assert idle_reason("z-image", reference_latents=latents) == "the model is given ref_latents"


def test_pictures_that_z_image_looks_at():
    needs(passed_on(comfy.model_base.Lumina2, "clip_vision_outputs"), "siglip_feats")
    seen = SimpleNamespace(image_sizes=[(3, 32, 32)], last_hidden_state=torch.randn(1, 4, 24, generator=DRAW))
    assert idle_reason("z-image", clip_vision_outputs=[seen]) == "the model is given siglip_feats"


@pytest.mark.parametrize("name", CASES)
def test_what_no_family_has_heard_of(name, monkeypatch):
    """An argument of a later host, which its transformer takes and this one's has taken off before it looks."""
    model, taken = CASES[name].build(), []
    extra_conds = model.model.extra_conds
    later = {"brand_new": comfy.conds.CONDConstant(7)}
    monkeypatch.setattr(model.model, "extra_conds", lambda **kwargs: {**extra_conds(**kwargs), **later})

    def take(_, args, kwargs):
        taken.append(kwargs.pop("brand_new"))
        return args, kwargs

    model.model.diffusion_model.register_forward_pre_hook(take, with_kwargs=True)
    assert idle_reason(name, model) == "the model is given brand_new"
    assert set(taken) == {7}
