"""Memory for cached keys and values: told to the host, bounded by a formula, and what happens where it is short."""

import sys
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from comfy import model_management, sampler_helpers

from cat_core.algorithm.noise import NoiseCache
from cat_core.caching.kv import KVCache
from cat_core.host import memory
from cat_core.host.architecture import find_family
from cat_core.host.journal import IDLE_INSTEAD
from cat_core.host.memory import Place, inflate_noise_shape, is_out_of_memory, list_places
from cat_core.host.patcher import attach, last_report
from cat_core.settings import CATSettings
from contract.idle import relative_error
from contract.oracle import Oracle
from small import CONFIGS, conditioning, noise_for, sample, small_model
from zoo import CASES

SETTINGS = CATSettings(keep_ratio=0.3, pruned_interval=1, warmup_steps=3, refresh_interval=3, final_full_steps=1)
FLOAT8 = torch.float8_e4m3fn
TOKENS, TEXT = 64, 7
GIB = 2**30


def kept_numbers(name="sd3"):
    """Of keys and values of one conditioning of a 16 x 16 latent."""
    second = len(CONFIGS[name].get("x_block_self_attn_layers", ())) * TOKENS
    return 2 * 128 * ((TOKENS + TEXT) * CONFIGS[name]["num_blocks"] + second)


def others():
    """Bytes of a conditioning's noise and corrector, four tensors of 64 numbers and a sigma per token, and one more."""
    return (4 * (64 + 1) + 64) * TOKENS * 4


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
        pictures, *rest = inflate_noise_shape(shape, needed, model)
        assert rest == list(shape[1:])
        assert needed <= (pictures - 2) * unit < needed + unit


def test_caches_are_moved_from_as_asked_to_smaller_to_the_cpu():
    assert list_places(SETTINGS) == [Place(None, None), Place(FLOAT8, None), Place(FLOAT8, "cpu")]
    assert list_places(replace(SETTINGS, cache_dtype="float8_e4m3fn", cache_device="cpu")) == [Place(FLOAT8, "cpu")]


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
def test_where_not_even_that_fits_there_are_idle_steps(monkeypatch, device):
    monkeypatch.setattr(model_management, "get_free_memory", lambda device=None: 1000)
    reason = assert_idle_and_right(*run(replace(SETTINGS, cache_device=device), cfg=1.0), cfg=1.0)
    assert "would take" in reason


def assert_idle_and_right(picture, report, **sampling):
    """Nothing was pruned, and the picture is that of a dense run with idle steps where the report says so."""
    reason = report.reasons[-1]
    assert reason.startswith(IDLE_INSTEAD)
    assert report.count("pruned") == 0
    assert report.count("idle") >= 1
    dense = sample(Oracle(report, SETTINGS).attach(small_model()), noise_for(1, 16, 16), **sampling)
    assert relative_error(picture, dense) < 1e-4
    return reason


class Scarce:
    """Lets the caches' memory run out after a number of layers stored, for places that ``applies`` to."""

    def __init__(
        self, monkeypatch, after, applies=lambda cache: True, error: type[Exception] = model_management.OOM_EXCEPTION
    ):
        original = KVCache.store
        self.left = after

        def store(cache, *rows):
            if applies(cache):
                self.left -= 1
                if self.left < 0:
                    raise error("planned")
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


def test_memory_that_always_runs_out_leaves_idle_steps(monkeypatch):
    """At three full steps, a place each; pruned steps in between have no keys and are computed in full."""
    Scarce(monkeypatch, 0)
    picture, report = run()
    assert "memory ran out for keys and values" in assert_idle_and_right(picture, report)
    assert [step.kind for step in report.steps] == ["full"] * 8 + ["idle", "full"]
    assert len(report.notes) == 2


def lacking_memory(model, calls):
    """The model's own memory runs out at these calls, counted from 0."""
    count = iter(range(10**6))

    def fail(*_):
        if next(count) in calls:
            raise model_management.OOM_EXCEPTION("planned")

    model.model.diffusion_model.joint_blocks[1].register_forward_pre_hook(fail)
    return model


# the model's calls in order: steps 0 to 2 in full, the proof, the first pruned step
@pytest.mark.parametrize("call", [3, 4], ids=["proof", "pruned step"])
def test_a_call_that_runs_out_of_memory_beside_the_caches_is_tried_without_them(call):
    picture, report = run(model=lacking_memory(small_model(), [call]))
    assert report.finished
    assert "memory ran out beside" in assert_idle_and_right(picture, report)


@pytest.mark.parametrize("calls", [[0], [4, 5]], ids=["without caches", "again without them"])
def test_a_model_that_lacks_memory_itself_fails_with_the_hosts_error(calls):
    model = lacking_memory(small_model(), calls)
    with pytest.raises(model_management.OOM_EXCEPTION, match="planned"):
        run(model=model)


def test_a_place_says_what_is_missing(monkeypatch):
    model = small_model().model
    called = model, (1, 16, 16, 16), torch.device("cpu")
    monkeypatch.setattr(memory.model_management, "get_free_memory", lambda device=None: 2 * GIB)
    assert Place(FLOAT8, "cpu").reason_too_small(2 * GIB, *called) is None
    problem = Place(FLOAT8, "cpu").reason_too_small(3 * GIB, *called)
    assert problem == "keys and values would take 3.0 GiB of 2.0 GiB that are free on cpu"


def dynamic(patcher, free, asked):
    """As with weights that move on demand: the patcher knows what is free, the device alone does not."""

    class Dynamic(type(patcher)):
        def get_free_memory(self, device):
            asked.append(device)
            return free

    patcher.__class__ = Dynamic
    # the host does so when it loads a model
    patcher.model.current_patcher = patcher
    return patcher


@pytest.mark.parametrize("free", [2 * GIB, GIB], ids=["enough", "not enough"])
def test_room_is_what_the_patcher_can_make_where_weights_move_on_demand(monkeypatch, free):
    monkeypatch.setattr(model_management, "get_free_memory", lambda device=None: 0)
    asked = []
    model = dynamic(small_model(), free, asked).model
    monkeypatch.setattr(model, "memory_required", lambda shape, cond_shapes=None: 0)
    problem = Place(FLOAT8, None).reason_too_small(GIB + 1, model, (1, 16, 16, 16), torch.device("meta"))
    assert (problem is None) == (free > GIB)
    assert asked == [torch.device("meta")]


def test_room_on_the_cpu_is_not_the_patchers_to_tell(monkeypatch):
    monkeypatch.setattr(model_management, "get_free_memory", lambda device=None: GIB)
    asked = []
    model = dynamic(small_model(), 0, asked).model
    assert Place(FLOAT8, "cpu").reason_too_small(GIB, model, (1, 16, 16, 16), torch.device("meta")) is None
    assert asked == []


class DeviceError(RuntimeError):
    """What a device raises that has run out of memory, in newer versions of PyTorch."""


@pytest.mark.parametrize("known", [True, False])
def test_hosts_say_what_is_a_lack_of_memory(monkeypatch, known):
    """A lack of memory is met with a smaller place; anything else is an error that the user is to see."""
    is_oom = getattr(model_management, "is_oom", lambda error: isinstance(error, model_management.OOM_EXCEPTION))
    monkeypatch.setattr(
        model_management, "is_oom", lambda error: is_oom(error) or (known and type(error) is DeviceError), raising=False
    )
    Scarce(monkeypatch, 1, lambda cache: cache.dtype is None, DeviceError)
    if known:
        _, report = run()
        assert report.count("pruned") > 0
        assert any("kept as float8_e4m3fn" in note for note in report.notes)
    else:
        with pytest.raises(DeviceError, match="planned"):
            run()


def test_older_hosts_know_of_their_own_exception_only(monkeypatch):
    monkeypatch.delattr(model_management, "is_oom", raising=False)
    assert is_out_of_memory(model_management.OOM_EXCEPTION())
    assert not is_out_of_memory(DeviceError())


def test_what_outlives_a_block_is_not_recorded_with_it(monkeypatch):
    """Newer hosts replay a block's allocations: keys and values are made, renewed and forecast outside of that."""
    paused, seen = [], []

    @contextmanager
    def pause():
        paused.append(True)
        yield
        paused.pop()

    monkeypatch.setitem(sys.modules, "comfy.model_prefetch", SimpleNamespace(pause_malloc_graph=pause))

    def watched(owner, name):
        original = getattr(owner, name)

        def call(*args, **kwargs):
            seen.append((name, bool(paused)))
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    watched(KVCache, "store")
    watched(KVCache, "renew")
    watched(NoiseCache, "at")
    settings = replace(SETTINGS, pruned_interval=2, refresh_interval=4)
    _, report = run(settings)
    assert report.count("pruned") > 0
    assert report.count("idle") > 0
    # a pruned step forecasts when the model has answered
    assert {entry for entry in seen if entry[0] != "at"} == {("store", True), ("renew", True)}
    assert ("at", True) in seen
    assert paused == []


class Packed(torch.nn.Module):
    """A linear layer as hosts have them with weights of four bits: no subclass of torch's, two numbers in a byte."""

    def __init__(self, layer):
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        packed = torch.zeros(layer.out_features, layer.in_features // 2, dtype=torch.uint8)
        self.weight = torch.nn.Parameter(packed, requires_grad=False)


@pytest.mark.parametrize("name", ["sd3", *CASES])
def test_macs_of_packed_layers_are_those_of_their_features(name):
    model = small_model() if name == "sd3" else CASES[name].build()
    transformer = model.model.diffusion_model
    family = find_family(transformer)
    plain = family.cost(transformer)
    for module in list(transformer.modules()):
        for part, layer in module.named_children():
            if isinstance(layer, torch.nn.Linear):
                setattr(module, part, Packed(layer))
    assert not any(isinstance(module, torch.nn.Linear) for module in transformer.modules())
    assert family.cost(transformer) == plain
    assert plain.per_block_token > 0


@pytest.mark.parametrize("dtype", ["model", "float8_e4m3fn"])
def test_eight_bits_are_not_chosen_where_a_device_has_none(monkeypatch, dtype):
    """Macs and DirectML; the host says so."""
    monkeypatch.setattr(model_management, "supports_cast", lambda device, dtype: dtype is not FLOAT8)
    settings = replace(SETTINGS, cache_dtype=dtype)
    assert list_places(settings) == [Place(None, None), Place(None, "cpu")]
    picture, report = run(settings)
    assert torch.equal(picture, run()[0])
    asked = ["this device has no float8, keys and values are kept as they are"]
    assert report.notes == (asked if dtype != "model" else [])
