"""What other nodes put into the model: pruned steps that are right, or idle ones and its name.

Nodes are stand-ins that do to the host what the nodes named here do.
"""

from functools import partial

import pytest
import torch
from comfy.ldm.modules.attention import optimized_attention

from cat_core.host.journal import IDLE_INSTEAD
from cat_core.host.patcher import attach, last_report
from contract.idle import idle_instead, relative_error
from contract.oracle import Oracle
from contract.test_proof import TOKENS
from small import noise_for, sample, small_model
from zoo import CASES
from zoo.case import Residuals

FLUX, WAN, PIXART = CASES["flux dev"], CASES["wan t2v"], CASES["pixart sigma"]


def assert_idle(case, node, named, **prompt):
    """The node's own picture but for idle steps in place of pruned ones, wherever CAT Pruning stands."""
    model, noise = case.build(), case.noise(1, case.sizes["wide"])

    def sample(which):
        return case.sample(which, noise, **prompt)

    reason = idle_instead(node(model), TOKENS, sample)
    assert named in reason
    before, behind = attach(model, TOKENS), attach(node(model), TOKENS)
    assert torch.equal(sample(node(before)), sample(behind))
    assert last_report(before).reasons == [reason]


def assert_pruned(case, node, tolerance=1e-4, beneath=lambda model: model, **prompt):
    """Steps are pruned and right, wherever CAT Pruning stands; ``beneath`` is the node as the oracle takes it."""
    model, noise = case.build(), case.noise(2, case.sizes["wide"])
    for patched in (attach(node(model), TOKENS), node(attach(model, TOKENS))):
        picture = case.sample(patched, noise, **prompt)
        report = last_report(patched)
        assert report.reasons == []
        assert report.count("pruned") >= 2
        oracle = Oracle(report, TOKENS, case.patch, case.behind, case.serves).attach(node(model))
        error = relative_error(picture, case.sample(beneath(oracle), noise, **prompt))
        stock = relative_error(case.sample(attach(model, TOKENS), noise), picture)
        assert error < min(tolerance, stock / 10), "the node's part in the picture is larger than what may be off"


def replacing(part, forward):
    """A node that puts a function in front of ``forward`` of a part of every block, as an object patch."""

    def node(model):
        clone = model.clone()
        for number, block in enumerate(clone.get_model_object("diffusion_model").blocks):
            patch = partial(forward, getattr(block, part))
            clone.add_object_patch(f"diffusion_model.blocks.{number}.{part}.forward", patch)
        return clone

    return node


def normalised(module, x, context, context_img_len=None, transformer_options=None, **_):
    """Cross-attention of KJNodes' WanVideoNAG: to a prompt of its own as well, for the first half of the batch."""
    attend = partial(optimized_attention, heads=module.num_heads, transformer_options=transformer_options)
    query, picture = module.norm_q(module.q(x)), 0
    if hasattr(module, "k_img"):
        seen, context = context[:, :context_img_len], context[:, context_img_len:]
        picture = attend(query, module.norm_k_img(module.k_img(seen)), module.v_img(seen))
    against = torch.randn(1, *context.shape[1:], generator=torch.Generator().manual_seed(8))
    keys, values = (torch.cat((context, against)) for _ in range(2))
    keys, values = module.norm_k(module.k(keys)), module.v(values)
    text, half = attend(query, keys[:-1], values[:-1]), max(len(x) // 2, 1)
    away = attend(query[:half], keys[-1:].expand(half, -1, -1), values[-1:].expand(half, -1, -1))
    guided = 11 * text[:half] - 10 * away
    guided *= (2.5 * text[:half].norm(1, -1, True) / guided.norm(1, -1, True)).clamp(max=1)
    text = torch.cat((0.25 * guided + 0.75 * text[:half], text[half:]))
    return module.o(text + picture)


def enhanced(frames, module, x, freqs, transformer_options):
    """Self-attention of Enhance-A-Video: scaled by how much frames attend to each other, rows being frames x space."""
    query, key = (
        norm(rows(x)).view(len(x), frames, -1, module.num_heads, module.head_dim).permute(0, 2, 3, 1, 4)
        for norm, rows in ((module.norm_q, module.q), (module.norm_k, module.k))
    )
    scores = (query @ key.mT / module.head_dim**0.5).softmax(-1)
    others = scores.sum() - scores.diagonal(dim1=-2, dim2=-1).sum()
    scale = (others / (scores.numel() - scores.shape[-1] * scores[..., 0, 0].numel()) * (frames + 2)).clamp(min=1)
    return scale * type(module).forward(module, x, freqs, transformer_options=transformer_options)


def chunked(module, x):
    """Feed-forward in parts, which save memory; a little louder, for the test to see that it is called."""
    return 1.1 * torch.cat([type(module).forward(module, part) for part in x.chunk(2, dim=1)], 1)


@pytest.mark.parametrize("name", ["wan t2v", "wan i2v"])
@pytest.mark.parametrize("text", [7, 30], ids=["", "as many text tokens as image tokens"])
def test_a_second_cross_attention(name, text):
    assert_idle(CASES[name], replacing("cross_attn", normalised), "blocks.0.cross_attn.forward", tokens=text)


def test_an_attention_that_needs_whole_frames():
    node = replacing("self_attn", partial(enhanced, WAN.sizes["wide"][0]))
    assert_idle(WAN, node, "another node replaces diffusion_model.blocks.0.self_attn.forward")


def test_a_function_that_is_harmless_but_not_known():
    assert_idle(WAN, replacing("ffn", chunked), "another node replaces diffusion_model.blocks.0.ffn.forward")


@pytest.mark.parametrize("patched", [True, False], ids=["object patch", "attribute"])
def test_another_nodes_function_is_called_at_every_computed_step_and_stays(patched):
    model, noise, called = PIXART.build(), PIXART.noise(1, PIXART.sizes["wide"]), []
    module = model.get_model_object("diffusion_model.blocks.0.attn")

    def forward(*args, **kwargs):
        called.append(None)
        return 0.5 * type(module).forward(module, *args, **kwargs)

    if patched:
        model.add_object_patch("diffusion_model.blocks.0.attn.forward", forward)
    else:
        module.forward = forward
    expected, stock = PIXART.sample(model, noise), len(called)
    called.clear()
    pruned = attach(model, TOKENS)
    PIXART.sample(pruned, noise)
    report = last_report(pruned)
    assert report.reasons == [f"{IDLE_INSTEAD}: another node replaces diffusion_model.blocks.0.attn.forward"]
    assert len(called) * len(report.steps) == stock * report.count("full")
    assert vars(module)["forward"] is forward
    called.clear()
    assert torch.equal(PIXART.sample(model, noise), expected)
    assert len(called) == stock


def patching(kind, patch):
    """A node that adds to blocks, where this host has a place for it."""

    def node(model):
        clone = model.clone()
        clone.set_model_patch(patch, kind)
        return clone

    return node


PATCHES = {
    "flux attn1_patch": lambda q, k, v, pe, attn_mask, extra_options: {"q": 1.5 * q},
    "flux post_input": lambda args: {**args, "img": 1.1 * args["img"]},
    "flux double_block": lambda args: args,
    "wan attn1_patch": lambda args: 1.1 * args["x"],
    "wan attn2_patch": lambda args: 1.1 * args["x"],
    "wan double_block": lambda args: {"img": 1.1 * args["img"]},
    "wan attn1_output_patch": lambda out, options: 1.1 * out,
}


@pytest.mark.parametrize("name", PATCHES)
def test_patches_that_a_family_does_not_know(name):
    family, kind = name.split()
    named = f"another node adds to transformer blocks ({kind})"
    assert_idle({"flux": FLUX, "wan": WAN}[family], patching(kind, PATCHES[name]), named)


def test_the_hosts_normalised_attention_guidance_on_a_family_that_knows_its_patch():
    nag = pytest.importorskip("comfy_extras.nodes_nag", reason="this host has no NAGuidance").NAGuidance
    assert_pruned(FLUX, lambda model: nag.execute(model, 5.0, 0.5, 1.5)[0])


def test_residuals_of_a_kind_that_a_family_does_not_know():
    tokens = FLUX.tokens(FLUX.sizes["wide"])
    known, unknown = ({"input": (2, 64), "output": (3, 64)}, {"input": (2, 64), "output": (3, 64), "middle": (2, 64)})
    pruned, noise = attach(FLUX.build(), TOKENS), FLUX.noise(1, FLUX.sizes["wide"])
    FLUX.sample(pruned, noise, control=Residuals(known, tokens))
    assert last_report(pruned).reasons == []
    assert last_report(pruned).count("pruned") >= 2
    control = Residuals(unknown, tokens)
    reason = idle_instead(FLUX.build(), TOKENS, lambda model: FLUX.sample(model, noise, control=control))
    assert reason == f"{IDLE_INSTEAD}: a ControlNet adds to blocks of the kind middle"


class Wrapped(torch.nn.Module):
    """Another node's stand-in for the transformer of a clone: nothing of it is known."""

    def __init__(self, transformer):
        super().__init__()
        self.inner, self.dtype = transformer, transformer.dtype

    def forward(self, *args, **kwargs):
        return self.inner(*args, **kwargs)


def test_what_another_clone_left_in_the_model_is_not_taken_for_its_own():
    model, noise = small_model(), noise_for(1, 16, 16)
    expected = sample(attach(model, TOKENS), noise)
    other = model.clone()
    other.add_object_patch("diffusion_model", Wrapped(model.get_model_object("diffusion_model")))
    sample(other, noise)
    pruned = attach(model, TOKENS)
    assert torch.equal(sample(pruned, noise), expected)
    assert last_report(pruned).reasons == []
