"""The engine on models of a few lines: what blocks are given, how attention is known, and that nothing of it stays."""

from dataclasses import replace

import pytest
import torch

from cat_core.algorithm.selection import LayoutError, Selection
from cat_core.host.architecture.engine import engage
from cat_core.host.architecture.layout import Blocks, Layout, Rest
from cat_core.host.attention import OVERRIDE, NamedAttention

N = 5
SELECTION = Selection(torch.tensor([[0, 3], [2, 4]]), N)
SLOTS = Layout(
    (Blocks("doubles", "double_block"), Blocks("singles", "single_block", joined=True)), text="txt", per_token={"pe": 1}
)
MODULES = Layout((Blocks("layers"),), image=0, rest=Rest.IN_FRONT, per_token={"pe": 1})


class Seeing(NamedAttention):
    """Notes the names of what it is asked for."""

    def __init__(self, only=None):
        super().__init__([], only)
        self.names = []

    def attend(self, name, func, q, k, v, mask, heads_first):
        self.names.append(name)
        return func(q, k, v, mask)


class Layer(torch.nn.Module):
    """A block with two attentions that doubles what it is given."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Identity()
        self.seen = []

    def forward(self, x, pe=None, options=None):
        self.seen.append((x, pe))
        for _ in range(2):
            attend(options)
        return 2 * self.inner(x)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.doubles, self.singles = ([torch.nn.Identity()] * count for count in (2, 1))
        self.layers = torch.nn.ModuleList([Layer(), Layer()])
        self.end = torch.nn.Identity()

    def forward(self, x, options, **more):
        attend(options)  # in front of the blocks
        for layer in self.layers:
            x = layer(x, options=options, **more)
        return self.end(x)


def attend(options):
    """As the host computes an attention."""
    plain = lambda q, k, v, heads: q  # noqa: E731
    nothing = torch.zeros(1, 1, 1)
    if OVERRIDE in options:
        options[OVERRIDE](plain, nothing, nothing, nothing, 1)


def rows(*before_and_after):
    """[2, before + N + after, 1], every row with its number."""
    return torch.arange(sum(before_and_after) + N).expand(2, -1).unsqueeze(-1).float()


def state(model):
    """What hooks and replaced functions would leave."""
    return [(dict(m._forward_hooks), dict(m._forward_pre_hooks), "forward" in vars(m)) for m in model.modules()]


def test_slots_get_selected_rows_and_the_last_puts_them_back():
    options, text, pe = {"patches_replace": {"other": {}}, "more": 1}, rows()[:, :3], rows(3)
    attention, seen = Seeing(), []

    def original(args):
        seen.append(args)
        return {**args, "img": args["img"] + 1}

    with engage(SLOTS, Model(), options, None, attention, SELECTION) as (given, _):
        hooks = given["patches_replace"]["dit"]
        out = {"img": rows(), "txt": text, "pe": pe}
        for number in range(2):
            out = hooks["double_block", number]({**out, "pe": pe}, {"original_block": original})
        joined = torch.cat((text, out["img"]), 1)
        out = hooks["single_block", 0]({"img": joined, "pe": pe}, {"original_block": original})
    assert options == {"patches_replace": {"other": {}}, "more": 1}
    assert given["more"] == 1
    assert given["patches_replace"]["other"] == {}
    assert attention.before == 3
    assert [args["img"][1, :, 0].tolist() for args in seen] == [[2, 4], [3, 5], [0, 1, 2, 4, 6]]
    assert all(args["pe"][1, :, 0].tolist() == [0, 1, 2, 5, 7] for args in seen)
    assert seen[0]["pe"] is seen[2]["pe"], "all blocks are given one tensor: it is gathered once"
    assert out["img"][0, :, 0].tolist() == [1, 2, 3, 3, 0, 0, 6, 0]


def test_modules_get_selected_rows_and_nothing_stays_even_after_an_error():
    model, x, pe = Model(), rows(1), rows(1)
    before = state(model)
    plain = model(x, {}, pe=pe)
    with engage(MODULES, model, {}, None, Seeing(), SELECTION) as (options, _):
        out = model(x, options, pe=pe)
    seen, positions = model.layers[1].seen[-1]
    assert seen[1, :, 0].tolist() == [0, 6, 10]
    assert positions[1, :, 0].tolist() == [0, 3, 5]
    chosen = torch.tensor([[True, True, False, False, True, False], [True, False, False, True, False, True]])
    assert torch.equal(out, torch.where(chosen.unsqueeze(-1), plain, 0.0))
    with pytest.raises(RuntimeError), engage(MODULES, model, {}, None, Seeing(), SELECTION):
        raise RuntimeError
    assert state(model) == before
    assert torch.equal(model(x, {}, pe=pe), plain)


def test_of_several_tensors_in_an_argument_the_image_alone_is_gathered():
    layout, sound = Layout((Blocks("doubles", "double_block"),), stream=1), rows(4)
    seen = []

    def original(args):
        seen.append(args["img"])
        return args

    with engage(layout, Model(), {}, None, Seeing(), SELECTION) as (given, _):
        out = {"img": (sound, rows())}
        for number in range(2):
            out = given["patches_replace"]["dit"]["double_block", number](out, {"original_block": original})
    assert [image[1, :, 0].tolist() for _, image in seen] == [[2, 4], [2, 4]]
    assert out["img"][0] is sound
    assert out["img"][1][0, :, 0].tolist() == [0, 0, 0, 3, 0]


def test_a_grid_of_tokens_is_taken_apart_and_put_together():
    layout, model = Layout((Blocks("layers"),), image=0), Model()
    x = torch.randn(2, 1, 5, 1, 3)
    with engage(layout, model, {}, None, Seeing(), SELECTION) as (options, _):
        out = model(x, options)
    assert model.layers[0].seen[-1][0].shape == (2, 1, 1, 2, 3)
    assert torch.equal(out.flatten(1, 3), torch.where(SELECTION.mask(), 4 * x.flatten(1, 3), 0.0))


def test_tokens_may_be_put_back_in_front_of_a_later_module():
    layout, model = Layout((Blocks("layers"),), image=0, end="end"), Model()
    reached = []
    model.end.register_forward_hook(lambda _, args, out: reached.append(args[0].shape))
    with engage(layout, model, {}, None, Seeing(), SELECTION) as (options, _):
        model(rows(), options)
    assert reached == [(2, N, 1)]


@pytest.mark.parametrize(("only", "numbers"), [(None, [0, 1]), ((1,), [1])])
def test_attention_is_known_by_its_block_and_its_number_there(only, numbers):
    attention, model = Seeing(only), Model()
    with engage(Layout((Blocks("layers"),), image=0, attention=only), model, {}, None, attention) as (options, _):
        model(rows(), options)
        model(rows(), options)
    assert attention.names == [("layers", block, number) for block in range(2) for number in numbers] * 2


def test_another_nodes_override_is_asked_by_attention_of_every_kind():
    asked, model = [], Model()
    options = {OVERRIDE: lambda func, *args: asked.append(1) or func(*args)}
    with engage(Layout((Blocks("layers"),), image=0, attention=(0,)), model, options, None, Seeing((0,))) as (given, _):
        model(rows(), given)
    assert len(asked) == 5, "one in front, two in each block"


def test_where_attention_cannot_be_overridden_a_function_computes_it_and_another_nodes_comes_back():
    model = Model()
    theirs = model.layers[0].inner.forward = lambda x: x
    calls = []

    def compute(module, attention, x):
        calls.append((module, attention))
        return x

    attention = Seeing()
    with engage(Layout((Blocks("layers"),), image=0, computes={"inner": compute}), model, {}, None, attention) as (
        options,
        _,
    ):
        assert OVERRIDE not in options
        model(rows(), options)
    assert calls == [(layer.inner, attention) for layer in model.layers]
    assert model.layers[0].inner.forward is theirs
    assert "forward" not in vars(model.layers[1].inner)


@pytest.mark.parametrize(("layout", "x"), [(MODULES, rows()[:, :3]), (replace(MODULES, rest=Rest.NOWHERE), rows(2))])
def test_rows_that_do_not_fit_are_an_error(layout, x):
    model = Model()
    with engage(layout, model, {}, None, Seeing(), SELECTION) as (options, _), pytest.raises(LayoutError):
        model(x, options)


def test_an_argument_that_a_layout_names_must_be_there():
    model = Model()
    with engage(MODULES, model, {}, None, Seeing(), SELECTION) as (options, _), pytest.raises(KeyError, match="pe"):
        model(rows(), options)
