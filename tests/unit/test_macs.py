"""Multiply-accumulates: a hand-counted example, and the published figures."""

from dataclasses import replace

import comfy.ops
import pytest
from comfy.ldm.modules.diffusionmodules.mmdit import OpenAISignatureMMDITWrapper
from comfy.ldm.pixart.pixartms import PixArtMS
from hypothesis import given
from hypothesis import strategies as st

from cat_core.algorithm.macs import ModelCost
from cat_core.host.architecture import find_family

COST = ModelCost(
    per_block_token=10,
    per_image_token=3,
    per_text_token=7,
    per_sample=5,
    joint_widths=(2, 4),
    image_widths=(8,),
    cross_widths=(16, 16),
    whole_widths=(9,),
)
WITH_SOUND = replace(COST, per_companion=4, companion_widths=(3, 5))


def test_linear_layers_run_on_computed_tokens_and_the_ends_on_all():
    assert COST.linear(100, 30, 6) == 10 * 30 + 3 * 100 + 7 * 6 + 5


def test_attention_has_queries_of_computed_and_keys_of_all_tokens():
    joint = (30 + 6) * (100 + 6) * (2 + 4)
    image = 30 * 100 * 8
    cross = 30 * 6 * (16 + 16)
    whole = 100 * 100 * 9
    # once for the scores, once for the values
    assert COST.attention(100, 30, 6) == 2 * (joint + image + cross + whole)


def test_keys_and_values_of_every_layer_over_image_tokens_are_cached():
    assert COST.count_cached(100, 6) == 2 * (106 * (2 + 4) + 100 * 8)


def test_companions_are_all_computed_and_attend_to_all():
    assert WITH_SOUND.linear(100, 30, 6, 10) == COST.linear(100, 30, 6) + 4 * 10
    among, across = 10 * (10 + 6 + 100), 30 * 10
    assert WITH_SOUND.attention(100, 30, 6, 10) == COST.attention(100, 30, 6) + 2 * (among + across) * (3 + 5)
    assert WITH_SOUND.total(100, 30, 6, 10) == WITH_SOUND.linear(100, 30, 6, 10) + WITH_SOUND.attention(100, 30, 6, 10)


def test_image_tokens_are_cached_once_more_for_companions():
    assert WITH_SOUND.count_cached(100, 6) == COST.count_cached(100, 6) + 2 * 100 * (3 + 5)


def test_the_total_is_both():
    assert COST.total(100, 30, 6) == COST.linear(100, 30, 6) + COST.attention(100, 30, 6)


def test_without_attention_widths_there_is_none():
    assert ModelCost(1, 1, 1, 1).attention(100, 30, 6) == 0


@given(st.integers(1, 5000), st.integers(0, 5000), st.integers(0, 400))
def test_every_token_left_out_saves_the_same_and_something(tokens, computed, text):
    saved = COST.total(tokens, computed + 1, text) - COST.total(tokens, computed, text)
    assert saved == 10 + 2 * ((tokens + text) * 6 + tokens * 8 + text * 32)


def sd3_medium():
    """The published model's shape, without memory."""
    text = {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 1536}}
    return OpenAISignatureMMDITWrapper(
        in_channels=16,
        depth=24,
        patch_size=2,
        input_size=None,
        adm_in_channels=2048,
        context_embedder_config=text,
        pos_embed_max_size=192,
        num_patches=192**2,
        operations=comfy.ops.disable_weight_init,
        device="meta",
    )


@pytest.mark.parametrize(("steps", "stock", "pruned"), [(28, 168.28, 90.28), (50, 300.50, 136.70)])
def test_sd3_medium_costs_what_the_paper_says(steps, stock, pruned):
    transformer = sd3_medium()
    cost = find_family(transformer).cost(transformer)
    # 1024 x 1024, two conditionings of 77 + 256 text tokens, 8 warm-up steps, 30 % of the tokens afterwards
    full, few = (cost.linear(4096, computed, 333) / 1e12 for computed in (4096, 1228))
    assert 2 * steps * full == pytest.approx(stock, rel=0.005)
    assert 2 * (8 * full + (steps - 8) * few) == pytest.approx(pruned, rel=0.01)


def pixart_sigma():
    """The published model's shape, without memory."""
    return PixArtMS(micro_condition=False, pe_interpolation=2, operations=comfy.ops.disable_weight_init, device="meta")


@pytest.mark.parametrize(("steps", "stock", "pruned"), [(28, 120.68, 60.08), (50, 215.40, 88.24)])
def test_pixart_sigma_costs_what_the_paper_says(steps, stock, pruned):
    transformer = pixart_sigma()
    cost = find_family(transformer).cost(transformer)
    full = cost.linear(4096, 4096, 300) / 1e12
    # the published figure keeps the text's keys and values, which no step changes; here they are computed at every step
    few = cost.linear(4096, 1228, 0) / 1e12
    assert 2 * steps * full == pytest.approx(stock, rel=0.001)
    assert 2 * (8 * full + (steps - 8) * few) == pytest.approx(pruned, rel=0.001)
