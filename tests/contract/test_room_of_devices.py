"""Room for keys and values on several devices: each has its own, and all share what is outside of them."""

from dataclasses import replace

import pytest
import torch
from comfy import model_management, sampler_helpers

from cat_core.host.journal import IDLE_INSTEAD, IN_FULL
from cat_core.host.patcher import attach, last_report
from cat_core.host.room import Room
from cat_core.settings import CATSettings
from contract.idle import relative_error
from contract.several import copies, share_out
from small import conditioning, noise_for, sample, small_model

SETTINGS = CATSettings(keep_ratio=0.3, pruned_interval=1, warmup_steps=3, refresh_interval=3, final_full_steps=1)
FLOAT8 = torch.float8_e4m3fn
FIRST, SECOND = torch.device("cpu"), torch.device("cpu", 0)
PROMPTS = {"positive": conditioning(1, 7), "negative": conditioning(2, 7)}
KEPT = 2 * 128 * 3 * (64 + 7) * 4
"""Bytes of keys and values of one conditioning, of 64 tokens with 7 of text in three blocks, as they are."""


def run(model=None, settings=SETTINGS, **sampling):
    pruned = attach(share_out(small_model) if model is None else model, settings)
    picture = sample(pruned, noise_for(1, 16, 16), **PROMPTS, **sampling)
    return picture, last_report(pruned)


@pytest.fixture
def free(monkeypatch):
    """Bytes by device, beside what the model's call takes."""
    own = small_model().model.memory_required([1, 16, 16, 16])
    bytes_free = {FIRST: 10 * KEPT, SECOND: 10 * KEPT}

    def get_free_memory(device=FIRST, torch_free_too=False):
        found = own + bytes_free[device]
        return (found, found) if torch_free_too else found

    monkeypatch.setattr(model_management, "get_free_memory", get_free_memory)
    return bytes_free


@pytest.fixture
def kept(monkeypatch):
    """Precision of what was kept, by the device that it was computed on."""
    new_cache, found = Room.new_cache, {}

    def cache_of(room, device):
        found[device] = new_cache(room, device)
        return found[device]

    monkeypatch.setattr(Room, "new_cache", cache_of)
    return lambda: {device: cache.dtype for device, cache in found.items()}


def test_a_device_that_lacks_room_keeps_its_own_in_eight_bits(free, kept):
    free[SECOND] = KEPT / 2
    _, report = run()
    assert report.reasons == []
    assert report.count("pruned") > 0
    (note,) = report.notes
    assert note.startswith("keys and values would take")
    assert note.endswith("that are free on cpu:0; they are kept as float8_e4m3fn")
    assert kept() == {FIRST: None, SECOND: FLOAT8}


@pytest.mark.parametrize(("times", "fit"), [(2, True), (1, False)])
def test_what_is_free_outside_of_them_is_shared(free, times, fit):
    """Two devices may be about to fill it at once."""
    free[SECOND] = 0
    own = small_model().model.memory_required([1, 16, 16, 16])
    free[FIRST] = times * KEPT / 4 - own
    _, report = run(settings=replace(SETTINGS, cache_device="cpu", cache_dtype="float8_e4m3fn"))
    assert bool(report.count("pruned")) == fit
    assert bool(report.reasons) != fit


def test_where_one_has_no_room_at_all_there_are_idle_steps_on_both(free):
    free[FIRST] = -(10**9)
    picture, report = run()
    assert report.count("pruned") == 0
    (reason,) = report.reasons
    assert reason.startswith(f"{IDLE_INSTEAD}: keys and values would take")
    assert reason.endswith("that are free on cpu")
    idle, _ = run(settings=SETTINGS.without_tokens())
    assert relative_error(picture, idle) < 1e-5


def lacking_memory(call):
    """The copy's memory runs out at one of its calls, counted from 0."""
    several, calls = share_out(small_model), iter(range(100))

    def fail(*_):
        if next(calls) == call:
            raise model_management.OOM_EXCEPTION("planned")

    copies(several)[1].model.diffusion_model.register_forward_pre_hook(fail)
    return several


# the copy's calls in order: steps 0 to 2 in full, the proof, the first pruned step
@pytest.mark.parametrize("call", [3, 4], ids=["proof", "pruned step"])
def test_a_device_whose_memory_runs_out_beside_them_is_asked_again_without_them(call):
    picture, report = run(lacking_memory(call))
    assert picture.isfinite().all()
    reason, *late = report.reasons
    assert reason == f"{IDLE_INSTEAD}: memory ran out beside the kept keys and values"
    # the other device may be at it at that time, or come later
    assert late in ([], [f"{IN_FULL}: a conditioning has no kept keys and values at a pruned step"])
    assert report.finished


def test_a_device_that_keeps_none_is_not_asked_again(monkeypatch):
    """What others keep does not help it."""
    monkeypatch.setattr(Room, "find", lambda self, values, call: call.device == FIRST)
    with pytest.raises(model_management.OOM_EXCEPTION, match="planned"):
        run(lacking_memory(3))


@pytest.mark.parametrize(("devices", "conditionings"), [(1, 2), (2, 1), (3, 1)])
def test_the_host_is_told_of_what_one_device_will_keep(monkeypatch, devices, conditionings):
    seen = []
    model = share_out(small_model, devices) if devices > 1 else small_model()
    # small against the caches, so that their number of pictures is exact
    for copy in copies(model):
        monkeypatch.setattr(copy.model, "memory_required", lambda shape, cond_shapes=None: 1000 * shape[0])
    monkeypatch.setattr(
        sampler_helpers, "estimate_memory", lambda model, shape, conds: seen.append(list(shape)) or (0, 0)
    )
    run(model)
    ((pictures, *_),) = seen
    assert conditionings * KEPT <= (pictures - 1) * 1000 < conditionings * KEPT + 1000
