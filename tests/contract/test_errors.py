"""Nothing that the pack says about a run may cost its picture, or hide why it failed; what users get wrong is told."""

import gc
import logging

import numpy as np
import pytest
import torch

from cat_core.algorithm.noise import NoiseCache
from cat_core.algorithm.selection import Selection
from cat_core.caching.kv import KVCache
from cat_core.host import patcher
from cat_core.host.patcher import attach, last_report, report_of
from cat_core.host.preview import latent_preview
from cat_core.host.proof import Proof
from cat_core.host.run import Run
from cat_core.host.selections import Selections
from cat_core.settings import PRESETS, CATSettings
from contract.idle import idle_instead
from small import noise_for, sample, small_model

SETTINGS = CATSettings(keep_ratio=0.3, pruned_interval=1, warmup_steps=3, refresh_interval=3, final_full_steps=1)
NOISE = noise_for(1, 16, 16)
WARNING = "could not tell all of what it did"


class PlannedError(Exception):
    pass


def fail(*_, **__):
    raise PlannedError


def held_state() -> list:
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, Run | KVCache | NoiseCache)]


@pytest.fixture(scope="module")
def expected():
    return sample(attach(small_model(), SETTINGS), NOISE)


@pytest.fixture
def lost_device(monkeypatch):
    """As after a fault of a GPU: at a run's end, what was selected cannot be read from it any more."""
    close = Selections.close

    def closing(self, report):
        with monkeypatch.context() as lost:
            lost.setattr(Selection, "mask", fail)
            close(self, report)

    monkeypatch.setattr(Selections, "close", closing)


@pytest.fixture
def warnings(monkeypatch):
    """Texts alone: records of pytest's own log hold an error's frames, and all that is in them."""
    texts = []
    monkeypatch.setattr(patcher.log, "warning", lambda text, **_: texts.append(text))
    return texts


@pytest.mark.usefixtures("lost_device")
def test_an_end_that_fails_does_not_cost_the_picture(expected, warnings):
    pruned = attach(small_model(), SETTINGS)
    assert torch.equal(sample(pruned, NOISE), expected)
    assert [WARNING in text for text in warnings] == [True]
    assert last_report(pruned).finished
    assert held_state() == []


@pytest.mark.usefixtures("lost_device")
def test_an_end_that_fails_does_not_hide_the_runs_own_error(warnings):
    pruned = attach(small_model(), SETTINGS)

    def at_step(number, *_):
        if number == 5:
            raise KeyError("of the run")

    with pytest.raises(KeyError, match="of the run") as raised:
        sample(pruned, NOISE, callback=at_step)
    assert raised.value.__context__ is None
    assert [WARNING in text for text in warnings] == [True]
    assert not last_report(pruned).finished
    assert len(last_report(pruned).steps) == 6
    del raised
    assert held_state() == []


@pytest.mark.usefixtures("lost_device", "warnings")
def test_all_tensors_go_when_an_end_fails(monkeypatch):
    runs = []
    close = Run.close
    monkeypatch.setattr(Run, "close", lambda self, finished: runs.append(self) or close(self, finished))
    sample(attach(small_model(), SETTINGS), NOISE)
    (run,) = runs
    selections = run.pruning.selections
    assert not any((run.conditionings, selections.selectors, selections.computed, run.plan))


@pytest.mark.parametrize("failing", [True, False], ids=["and fails", "and ends well"])
def test_a_listener_that_raises_changes_nothing(expected, caplog, failing):
    pruned = attach(small_model(), SETTINGS, on_report=fail)

    def at_step(number, *_):
        if failing and number == 5:
            raise KeyError("of the run")

    if failing:
        with pytest.raises(KeyError, match="of the run"):
            sample(pruned, NOISE, callback=at_step)
    else:
        assert torch.equal(sample(pruned, NOISE, callback=at_step), expected)
    assert WARNING in caplog.text
    assert "PlannedError" in caplog.text
    assert last_report(pruned).finished is not failing


def test_a_listener_gets_the_report_that_is_kept():
    told = []
    pruned = attach(small_model(), SETTINGS, on_report=told.append)
    sample(pruned, NOISE)
    assert told == [last_report(pruned)]


def test_a_latent_that_cannot_be_recognised_still_has_a_report(monkeypatch, expected, caplog):
    pruned = attach(small_model(), SETTINGS)
    monkeypatch.setattr(patcher, "_fingerprint", fail)
    assert torch.equal(sample(pruned, NOISE), expected)
    monkeypatch.undo()
    assert WARNING in caplog.text
    assert last_report(pruned).count("pruned") > 0
    assert report_of(pruned, expected) is None


class Odd:
    """A latent format with what one may have in some later host."""

    latent_rgb_factors = torch.ones(16, 3).tolist()

    def __init__(self, **odd):
        vars(self).update(odd)

    def process_in(self, latent):
        return latent


def reshaped(latent):
    return torch.nn.functional.pixel_shuffle(latent, 2)


QUIET = {
    "no colours": {"latent_rgb_factors": None},
    "of other channels": {"latent_rgb_factors": torch.ones(4, 3).tolist()},
    "none at all": {"latent_rgb_factors": []},
    "reshaped to fewer channels": {"latent_rgb_factors_reshape": reshaped},
}
LOUD = {
    "of no numbers": {"latent_rgb_factors": [["red"] * 3] * 16},
    "in four colours": {"latent_rgb_factors": torch.ones(16, 4).tolist(), "latent_rgb_factors_bias": [0.0] * 3},
    "that raises": {"process_in": fail},
}


def with_format(latent_format):
    model = small_model()
    model.add_object_patch("latent_format", latent_format)
    return model


@pytest.mark.parametrize("odd", [*QUIET.values(), *LOUD.values()], ids=[*QUIET, *LOUD])
def test_an_odd_latent_format_costs_the_preview_alone(monkeypatch, expected, caplog, odd):
    """The run's own latents are scaled by the model's real format, the report's picture alone by this one."""
    pruned = attach(small_model(), SETTINGS)
    real = pruned.get_model_object
    monkeypatch.setattr(
        type(pruned), "get_model_object", lambda self, name: Odd(**odd) if name == "latent_format" else real(name)
    )
    picture = sample(pruned, NOISE)
    monkeypatch.undo()
    assert torch.equal(picture, expected)
    assert (WARNING in caplog.text) == (odd in LOUD.values())
    report = report_of(pruned, picture)
    assert report.preview is None
    assert report.count("pruned") > 0


def test_colours_of_a_reshaped_latent():
    """As the host's formats of packed latents have it."""
    odd = Odd(latent_rgb_factors=torch.eye(4, 3).tolist(), latent_rgb_factors_reshape=reshaped)
    picture = latent_preview(odd, torch.zeros(1, 16, 8, 8))
    assert picture.shape == (16, 16, 3)
    assert np.all(picture == 0.5)


@pytest.mark.parametrize("preset", ["balance", "Quality", "", "automatic "])
def test_a_preset_that_does_not_exist_is_told_with_those_that_do(pack, preset):
    """The host lets any text through that comes by its API."""
    with pytest.raises(ValueError, match="preset must be one of automatic, balanced, quality, speed, paper") as raised:
        pack["CATPruning"].execute(small_model(), True, preset=preset)
    assert repr(preset) in str(raised.value)


@pytest.mark.parametrize("preset", ["automatic", *PRESETS])
def test_presets_that_exist_are_taken(pack, preset):
    (model,) = pack["CATPruning"].execute(small_model(), True, preset=preset).args
    chosen = model.attachments["cat_pruning"].settings
    assert (chosen is None) == (preset == "automatic")
    assert chosen is None or vars(chosen) == vars(PRESETS[preset])


def test_a_proof_that_is_no_number_means_idle_steps(monkeypatch):
    """Say float16 that overflows in the pruned path alone."""
    add = Proof.add
    monkeypatch.setattr(
        Proof, "add", lambda self, layout, computed, true: add(self, layout, computed * torch.nan, true)
    )
    reason = idle_instead(small_model(), SETTINGS, lambda model: sample(model, NOISE), by_proof=True)
    assert "differ by nan" in reason


def test_the_log_names_what_went_wrong_in_full(caplog):
    caplog.set_level(logging.WARNING)
    sample(attach(small_model(), SETTINGS, on_report=fail), NOISE)
    (record,) = [record for record in caplog.records if WARNING in record.getMessage()]
    assert record.exc_info[0] is PlannedError
