"""The nodes: thin, and in step with the engine."""

import dataclasses
import json

import pytest
import torch

from cat_core.host.patcher import KEY, attach, last_report
from cat_core.settings import KNOBS, PRESETS, CATSettings
from small import noise_for, sample, small_model

CHOICES = {name: knob.options for name, knob in KNOBS.items() if knob.options}
NUMBERS = [name for name, knob in KNOBS.items() if not isinstance(knob.default, str)]


@pytest.fixture
def widgets(pack):
    return {widget.id: widget for widget in pack["CATPruningSettings"].GET_SCHEMA().inputs}


def settings_from(pack, **knobs):
    return pack["CATPruningSettings"].execute(**knobs).args[0]


def patched(pack, model, enabled=True, **inputs):
    return pack["CATPruning"].execute(model, enabled, **inputs).args[0]


def wrappers_of(model):
    """By kind; the pack's own copy of the code."""
    return {kind: kinds[KEY] for kind, kinds in model.wrappers.items() if kinds.get(KEY)}


def assert_wrapped_once(model):
    assert sorted(wrappers_of(model)) == ["apply_model", "outer_sample", "predict_noise", "prepare_sampling"]
    assert all(len(wrappers) == 1 for wrappers in wrappers_of(model).values())


def test_every_knob_is_an_input_with_the_same_default(widgets):
    assert set(widgets) == {*KNOBS, "focus_mask"}
    assert {name: widgets[name].default for name in KNOBS} == {name: getattr(CATSettings(), name) for name in KNOBS}


def test_untouched_widgets_give_the_default_settings(pack, widgets):
    settings = settings_from(pack, **{name: widgets[name].default for name in KNOBS})
    assert dataclasses.asdict(settings) == dataclasses.asdict(CATSettings())


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("end", ["min", "max"])
def test_a_widget_ends_exactly_where_the_settings_do(pack, widgets, name, end):
    widget = widgets[name]
    limit, step = getattr(widget, end), widget.step or 1
    # a keep ratio of zero asks for refreshes
    assert getattr(settings_from(pack, **{"keep_ratio": 0.3, name: limit}), name) == limit
    with pytest.raises(ValueError, match=name):
        settings_from(pack, **{name: limit - step if end == "min" else limit + step})


@pytest.mark.parametrize("name", NUMBERS)
def test_a_widget_holds_whole_numbers_where_the_settings_do(pack, widgets, name):
    assert type(widgets[name].default) is type(getattr(CATSettings(), name))


@pytest.mark.parametrize("name", CHOICES)
def test_a_widget_offers_exactly_the_choices_of_the_settings(pack, widgets, name):
    assert tuple(widgets[name].options) == CHOICES[name]
    for choice in CHOICES[name]:
        assert getattr(settings_from(pack, **{name: choice}), name) == choice


def test_a_focus_mask_reaches_the_run(pack):
    mask = torch.zeros(1, 16, 16)
    mask[:, :4, :4] = 1
    settings = settings_from(pack, focus_mask=mask, warmup_steps=3, refresh_interval=5)
    pruned = patched(pack, small_model(), settings=settings)
    sample(pruned, noise_for(1, 16, 16))
    chosen = [step.selected for step in last_report(pruned).steps if step.selected is not None]
    assert chosen
    assert all(selected[0, :2, :2].all() for selected in chosen)


def test_attaching_leaves_the_given_model_alone(pack):
    model = small_model()
    pruned = patched(pack, model)
    assert wrappers_of(model) == {}
    assert_wrapped_once(pruned)
    assert pruned.model is model.model


@pytest.mark.parametrize("preset", PRESETS)
def test_without_settings_the_preset_holds(pack, preset):
    settings = patched(pack, small_model(), preset=preset).get_attachment(KEY).settings
    assert dataclasses.asdict(settings) == dataclasses.asdict(PRESETS[preset])


def test_without_any_choice_the_model_has_its_own(pack):
    assert patched(pack, small_model()).get_attachment(KEY).settings is None


def test_every_preset_can_be_chosen(pack):
    (preset,) = [widget for widget in pack["CATPruning"].GET_SCHEMA().inputs if widget.id == "preset"]
    assert preset.options == ["automatic", *PRESETS, "tuned"]
    assert preset.default == "automatic"


def test_attached_twice_it_acts_once_with_the_later_settings(pack):
    later = settings_from(pack, keep_ratio=0.5)
    twice = patched(pack, patched(pack, small_model()), settings=later)
    sample(twice, noise_for(1, 16, 16))
    assert "applied more than once" in last_report(twice).text()
    assert_wrapped_once(twice)
    assert twice.get_attachment(KEY).settings is later


@pytest.mark.parametrize("before", ["nothing", "once", "twice", "off"])
def test_switched_off_no_trace_of_it_is_left(pack, before):
    model, noise = small_model(), noise_for(1, 16, 16)
    stock = sample(model, noise)
    chain = {"nothing": [], "once": [True], "twice": [True, True], "off": [True, False]}[before]
    for enabled in [*chain, False]:
        model = patched(pack, model, enabled)
    assert wrappers_of(model) == {}
    assert KEY not in model.attachments
    assert torch.equal(sample(model, noise), stock)


def test_switching_off_leaves_the_given_model_pruned(pack):
    pruned = patched(pack, small_model())
    patched(pack, pruned, False)
    assert_wrapped_once(pruned)
    assert pruned.get_attachment(KEY)


def test_switched_off_and_on_again_it_prunes(pack):
    model = patched(pack, patched(pack, patched(pack, small_model()), False))
    sample(model, noise_for(1, 16, 16), steps=20)
    assert last_report(model).count("idle") > 0


def report_of(pack, model, latent=None):
    output = pack["CATPruningReport"].execute(model, latent or {"samples": torch.zeros(1, 16, 8, 8)})
    return *output.args, output.ui


def assert_is_image(picture):
    assert picture.ndim == 4
    assert picture.shape[0] == 1
    assert picture.shape[-1] == 3
    assert picture.dtype == torch.float32
    assert 0 <= picture.min() <= picture.max() <= 1


def test_the_report_of_a_run_passes_the_latent_on(pack):
    pruned = patched(pack, small_model())
    latent = {"samples": sample(pruned, noise_for(1, 16, 16)), "batch_index": [0]}
    out, text, picture, ui = report_of(pack, pruned, latent)
    assert out is latent
    assert text == ui["text"][0] == last_report(pruned).text()
    assert json.loads(json.dumps(ui))["report"][0]["steps"]["full"] == last_report(pruned).count("full")
    assert_is_image(picture)


def test_every_latent_has_the_report_of_its_own_run(pack):
    pruned = patched(pack, small_model())
    latents = [{"samples": sample(pruned, noise_for(1, 16, 16), steps=steps)} for steps in (18, 20)]
    counted = [sum(report_of(pack, pruned, latent)[3]["report"][0]["steps"].values()) for latent in latents]
    assert counted == [18, 20]


def test_a_latent_of_no_run_gets_the_last_one_and_is_told_so(pack):
    pruned = patched(pack, small_model())
    latent = {"samples": sample(pruned, noise_for(1, 16, 16), steps=18)}
    assert "did not make this latent" not in report_of(pack, pruned, latent)[1]
    changed = {"samples": latent["samples"] + 1}
    assert "did not make this latent" in report_of(pack, pruned, changed)[1]


@pytest.mark.parametrize(
    ("prepare", "says"),
    [(attach, "No run yet"), (lambda model: model, "does not carry CAT Pruning")],
    ids=["before a run", "not patched"],
)
def test_without_a_run_the_report_says_so_and_the_graph_goes_on(pack, prepare, says):
    out, text, picture, ui = report_of(pack, prepare(small_model()))
    assert says in text
    assert (ui["text"], ui["report"]) == ((text,), ({},))
    assert out["samples"].shape == (1, 16, 8, 8)
    assert_is_image(picture)


def test_an_unfinished_run_is_reported_as_such(pack):
    pruned = patched(pack, small_model())

    def stop(step, *_):
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(pruned, noise_for(1, 16, 16), callback=stop)
    _, text, _, ui = report_of(pack, pruned)
    assert "did not finish" in text
    assert ui["report"][0]["finished"] is False
