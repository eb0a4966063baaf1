"""Memory for cached keys and values: told to the host, bounded by a formula, and what happens where it is short."""

from dataclasses import replace

import pytest
import torch
from comfy import model_management, sampler_helpers

from cat_core.caching.kv import KVCache
from cat_core.host import memory
from cat_core.host.memory import Place, announced, places
from cat_core.host.patcher import attach, last_report
from cat_core.settings import CATSettings
from small import CONFIGS, conditioning, noise_for, sample, small_model

SETTINGS = CATSettings(keep_ratio=0.3, pruned_interval=1, warmup_steps=3, refresh_interval=3, final_full_steps=1)
FLOAT8 = torch.float8_e4m3fn
TOKENS, TEXT = 64, 7
GIB = 2**30


def kept_numbers(name="sd3"):
    """Of keys and values of one conditioning of a 16 x 16 latent."""
    second = len(CONFIGS[name].get("x_block_self_attn_layers", ())) * TOKENS
    return 2 * 128 * ((TOKENS + TEXT) * CONFIGS[name]["num_blocks"] + second)


def others():
    """Bytes of a conditioning's noise and corrector: four tensors of 64 numbers and a sigma per token."""
    return 4 * TOKENS * (64 + 1) * 4


def run(settings=SETTINGS, model=None, **sampling):
    pruned = attach(model or small_model(), settings)
    picture = sample(pruned, noise_for(1, 16, 16), **sampling)
    return picture, last_report(pruned)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("dtype", "size"), [("model", 4), ("bfloat16", 2)])
def test_the_caches_are_as_large_as_the_formula_says(name, dtype, size):
    _, report = run(replace(SETTINGS, cache_dtype=dtype), small_model(name))
    assert report.cache_bytes == 2 * (kept_numbers(name) * size + others())


def test_eight_bits_take_a_quarter_of_32_and_a_scale_per_row():
    _, report = run(replace(SETTINGS, cache_dtype="float8_e4m3fn"))
    rows = 2 * (TOKENS + TEXT) * CONFIGS["sd3"]["num_blocks"]
    assert report.cache_bytes == 2 * (kept_numbers() + rows * 4 + others())


@pytest.mark.parametrize(("cfg", "conditionings"), [(4.0, 2), (1.0, 1)])
def test_the_host_is_told_of_the_caches_before_it_plans(monkeypatch, cfg, conditionings):
    seen = []
    model = small_model()
    # small against the caches, so that their number of pictures is exact
    monkeypatch.setattr(model.model, "memory_required", lambda shape, cond_shapes=None: 1000 * shape[0])
    monkeypatch.setattr(
        sampler_helpers, "estimate_memory", lambda model, shape, conds: seen.append(list(shape)) or (0, 0)
    )
    run(model=model, cfg=cfg)
    ((pictures, *rest),) = seen
    assert rest == [16, 16, 16]
    needed = conditionings * kept_numbers() * 4
    assert needed <= (pictures - 1) * 1000 < needed + 1000


@pytest.mark.parametrize(
    "settings",
    [
        replace(SETTINGS, keep_ratio=0.0),
        replace(SETTINGS, cache_device="cpu"),
        replace(SETTINGS, keep_ratio=1.0),
    ],
    ids=["none kept", "elsewhere", "nothing pruned"],
)
def test_the_host_is_told_of_nothing_where_nothing_is_kept_on_its_device(monkeypatch, settings):
    seen = []
    monkeypatch.setattr(sampler_helpers, "estimate_memory", lambda model, shape, conds: seen.append(shape[0]) or (0, 0))
    run(settings)
    assert seen == [1]


def test_what_is_announced_covers_what_is_needed():
    model = small_model().model
    shape = torch.Size([2, 16, 21, 60, 104])
    unit = model.memory_required([1, *shape[1:]])
    for needed in (0, 1, 5 * GIB):
        pictures, *rest = announced(shape, needed, model)
        assert rest == list(shape[1:])
        assert needed <= (pictures - 2) * unit < needed + unit


def test_caches_are_moved_from_as_asked_to_smaller_to_the_cpu():
    assert places(SETTINGS) == [Place(None, None), Place(FLOAT8, None), Place(FLOAT8, "cpu")]
    assert places(replace(SETTINGS, cache_dtype="float8_e4m3fn", cache_device="cpu")) == [Place(FLOAT8, "cpu")]


def free_memory(monkeypatch, share):
    """As much as this share of what one conditioning's keys and values take, beside what the model's call takes."""
    own = small_model().model.memory_required([1, 16, 16, 16])
    monkeypatch.setattr(model_management, "get_free_memory", lambda device=None: own + share * kept_numbers() * 4)


def test_where_they_fit_only_in_eight_bits_they_are_kept_in_eight_bits(monkeypatch):
    _, plain = run(cfg=1.0)
    free_memory(monkeypatch, 0.5)
    picture, report = run(cfg=1.0)
    assert report.count("pruned") == plain.count("pruned") > 0
    assert report.reasons == []
    (note,) = report.notes
    assert "would take" in note
    assert "kept as float8_e4m3fn" in note
    assert report.cache_bytes < plain.cache_bytes
    monkeypatch.undo()
    assert torch.equal(picture, run(replace(SETTINGS, cache_dtype="float8_e4m3fn"), cfg=1.0)[0])


@pytest.mark.parametrize("device", ["model", "cpu"])
def test_where_not_even_that_fits_pruned_steps_are_computed_in_full(monkeypatch, device):
    full, _ = run(replace(SETTINGS, refresh_interval=1), cfg=1.0)
    monkeypatch.setattr(model_management, "get_free_memory", lambda device=None: 1000)
    picture, report = run(replace(SETTINGS, cache_device=device), cfg=1.0)
    assert torch.allclose(picture, full, atol=1e-4)
    assert report.count("pruned") == 0
    assert any("preset quality keeps none" in reason for reason in report.reasons)


class Scarce:
    """Lets the caches' memory run out after a number of layers stored, for places that ``applies`` to."""

    def __init__(self, monkeypatch, after, applies=lambda cache: True):
        original = KVCache.store
        self.left = after

        def store(cache, *rows):
            if applies(cache):
                self.left -= 1
                if self.left < 0:
                    raise model_management.OOM_EXCEPTION("planned")
            original(cache, *rows)

        monkeypatch.setattr(KVCache, "store", store)


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("lengths", [(7, 7), (9, 5)], ids=["one call", "two calls"])
def test_memory_that_runs_out_while_they_are_stored_moves_them(monkeypatch, after, lengths):
    Scarce(monkeypatch, after, lambda cache: cache.dtype is None)
    prompts = {"positive": conditioning(1, lengths[0]), "negative": conditioning(2, lengths[1])}
    picture, report = run(**prompts)
    assert picture.isfinite().all()
    assert report.count("pruned") > 0
    assert any("kept as float8_e4m3fn" in note for note in report.notes)


def test_memory_that_always_runs_out_leaves_full_steps(monkeypatch):
    full, _ = run(replace(SETTINGS, refresh_interval=1))
    Scarce(monkeypatch, 0)
    picture, report = run()
    assert torch.allclose(picture, full, atol=1e-4)
    assert report.count("pruned") == 0
    assert any("memory ran out" in reason for reason in report.reasons)


def lacking_memory(model, calls):
    """The model's own memory runs out at these calls, counted from 0."""
    count = iter(range(10**6))

    def fail(*_):
        if next(count) in calls:
            raise model_management.OOM_EXCEPTION("planned")

    model.model.diffusion_model.joint_blocks[1].register_forward_pre_hook(fail)
    return model


def test_a_call_that_runs_out_of_memory_beside_the_caches_is_tried_without_them():
    full, _ = run(replace(SETTINGS, refresh_interval=1))
    picture, report = run(model=lacking_memory(small_model(), [3]))
    assert report.finished
    assert torch.allclose(picture, full, atol=1e-4)
    assert any("memory ran out beside" in reason for reason in report.reasons)


@pytest.mark.parametrize("calls", [[0], [3, 4]], ids=["without caches", "again without them"])
def test_a_model_that_lacks_memory_itself_fails_with_the_hosts_error(calls):
    model = lacking_memory(small_model(), calls)
    with pytest.raises(model_management.OOM_EXCEPTION, match="planned"):
        run(model=model)


def test_a_place_says_what_is_missing(monkeypatch):
    model = small_model().model
    x = noise_for(1, 16, 16)
    monkeypatch.setattr(memory.model_management, "get_free_memory", lambda device=None: 2 * GIB)
    assert Place(FLOAT8, "cpu").reason_too_small(2 * GIB, model, x) is None
    problem = Place(FLOAT8, "cpu").reason_too_small(3 * GIB, model, x)
    assert problem == "keys and values would take 3.0 GiB of 2.0 GiB that are free"
