"""Random settings, shapes, batches and steps: what must always hold, and what hostile input gets."""

import math
from dataclasses import replace

import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cat_core.algorithm.schedule import Schedule, StepKind
from cat_core.algorithm.selection import Selection, Selector
from cat_core.caching.kv import KVCache
from cat_core.host.patcher import attach, last_report
from cat_core.settings import KNOBS, CATSettings
from graphs.host_graph import dense_model, evaluated_once, relative
from small import noise_for, sample, small_model

share = st.floats(0, 1)
knobs = st.fixed_dictionaries(
    {
        "keep_ratio": st.one_of(st.sampled_from([0.0, 1.0]), share),
        "clusters": st.integers(1, 60),
        "refresh_interval": st.integers(1, 12),
        "pruned_interval": st.integers(1, 5),
        "warmup_steps": st.integers(0, 6),
        "cluster_share": share,
        "staleness_decay": share,
        "position_weight": st.floats(0, 100),
        "final_full_steps": st.integers(0, 4),
        "forecast": share,
        "correction": share,
        "propagation": share,
        "cache_dtype": st.sampled_from(KNOBS["cache_dtype"].options),
        "seed": st.integers(0, 2**64 - 1),
    }
)
grids = st.lists(st.integers(1, 9), min_size=2, max_size=3).map(tuple)
masks = st.one_of(st.none(), st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12)))
many = settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@many
@given(knobs, grids, st.integers(1, 4), masks, st.integers(0, 999))
def test_selections_have_exactly_as_many_sorted_tokens_of_the_grid(values, grid, batch, mask, seed):
    chosen = CATSettings(**values)
    assume(chosen.keep_ratio > 0 or mask)
    mask = None if mask is None else (drawn(seed, *mask) > 0).float()
    selector = Selector(replace(chosen, focus_mask=mask), grid)
    tokens = math.prod(grid)
    noise = drawn(seed, batch, tokens, 4)
    for step in range(3):
        indices = selector.select(noise + drawn(seed + step, batch, tokens, 4), noise).indices
        assert indices.shape == (batch, selector.count)
        assert indices.min() >= 0
        assert indices.max() < tokens
        assert (indices.diff(dim=1) > 0).all()
        if selector.focus is not None:
            picked = torch.zeros(batch, tokens, dtype=torch.bool).scatter_(1, indices, True)
            assert (picked | ~selector.focus).all()
    assert selector.count >= max(1, round(chosen.keep_ratio * tokens))


@many
@given(knobs, st.integers(0, 60))
def test_schedules_compute_what_they_promise(values, steps):
    chosen = CATSettings(**values)
    sigmas = [1 - i / max(steps, 1) for i in range(steps + 1)]
    schedule = Schedule(sigmas, chosen)
    kinds = schedule.kinds
    assert len(kinds) == steps
    full = [number for number, kind in enumerate(kinds) if kind is StepKind.FULL]
    assert set(range(min(schedule.warmup, steps))) <= set(full)
    assert set(range(max(steps - chosen.final_full_steps, 0), steps)) <= set(full)
    ends = [*full, steps] if chosen.final_full_steps == 0 else full
    assert all(later - one <= max(chosen.refresh_interval, 1) for one, later in zip(full, ends[1:], strict=False))
    assert [schedule.find_step(sigma) for sigma in sigmas[:-1]] == list(range(steps))
    if chosen.keep_ratio == 0:
        assert StepKind.PRUNED not in kinds


@many
@given(
    st.integers(1, 3), st.integers(0, 4), st.integers(0, 4), st.integers(1, 12), share, st.sampled_from([4, 8]),
    st.integers(0, 999),
)  # fmt: skip
def test_renewed_caches_have_new_rows_where_they_were_computed_and_old_ones_elsewhere(
    batch, before, after, tokens, ratio, width, seed
):
    count = max(1, round(ratio * tokens))
    order = drawn(seed, batch, tokens).argsort(1)
    selection = Selection(order[:, :count].sort(1).values, tokens)
    old, new = drawn(seed, batch, before + tokens + after, width), drawn(seed + 1, batch, before + count + after, width)
    cache = KVCache()
    cache.store(0, old, 2 * old)
    keys, values = cache.renew(0, new, 3 * new, selection, before)
    expected = old.clone()
    for number in range(batch):
        for place, token in enumerate(selection.indices[number]):
            expected[number, before + token] = new[number, before + place]
    expected[:, :before], expected[:, before + tokens :] = new[:, :before], new[:, before + count :]
    assert torch.equal(keys, expected)
    assert torch.equal(values == 2 * old, expected == old)


anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=2)
)


@many
@given(st.sampled_from(list(KNOBS)), anything)
def test_a_knob_is_taken_or_refused_by_its_name(knob, value):
    try:
        found = CATSettings(**{"keep_ratio": 0.5, "refresh_interval": 3, knob: value})
    except ValueError as error:
        # a keep ratio of zero and no refreshes are refused together
        assert knob in str(error)  # noqa: PT017
    else:
        assert getattr(found, knob) == value


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    knobs,
    st.integers(2, 24),
    st.integers(2, 24),
    st.integers(1, 3),
    st.integers(1, 30),
    st.sampled_from(["euler", "heun", "dpmpp_2m", "euler_ancestral", "uni_pc"]),
)
def test_runs_never_fail(values, height, width, batch, steps, sampler):
    pruned = attach(MODEL, CATSettings(**values))
    picture = sample(pruned, noise_for(batch, height, width), steps=steps, sampler=sampler)
    assert picture.shape == (batch, 16, height, width)
    assert picture.isfinite().all()
    report = last_report(pruned)
    assert report.finished
    in_full = report.count("full") == len(report.steps)
    # what a sampler or a short run does not bear is bounded, and that is told
    assert in_full or report.settings == CATSettings(**values) or report.notes
    tokens = math.ceil(height / 2) * math.ceil(width / 2)
    if in_full:
        all_kept = max(1, round(values["keep_ratio"] * tokens)) == tokens
        stock = sample(MODEL, noise_for(batch, height, width), steps=steps, sampler=sampler)
        # all tokens of a pruned step are computed in another order
        assert relative(picture, stock) < 1e-4 if all_kept else report.reasons and torch.equal(picture, stock)
    elif not report.reasons and evaluated_once(report) and values["cache_dtype"] == "model":
        model = dense_model(MODEL, report, report.settings)
        dense = sample(model, noise_for(batch, height, width), steps=steps, sampler=sampler)
        assert relative(picture, dense) < 1e-4


MODEL = small_model()
