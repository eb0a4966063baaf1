"""Preset tuned: which model is which, and what is found for its runs."""

from collections import namedtuple
from dataclasses import replace

import comfy.model_management
import comfy.samplers
import folder_paths
import pytest
import torch
from comfy.quant_ops import QuantizedTensor

from cat_core.host.architecture.registry import FAMILIES
from cat_core.host.choice import Choice
from cat_core.host.patcher import attach, last_report
from cat_core.host.samplers import name_sampler
from cat_core.host.tuned import choose_tuned, fingerprint, tuned_file, tuned_folder
from cat_core.settings import PRESETS, CATSettings, name_steps
from cat_core.tuned import Tuned, add
from small import noise_for, sample, small_model
from zoo.further import further_case

pytestmark = pytest.mark.host

WEIGHT = "diffusion_model.joint_blocks.{}.x_block.attn.qkv.weight"
NAMED = CATSettings(keep_ratio=0.5, full_steps="0-3,8,15-17")
NOISE = noise_for(1, 16, 16)


@pytest.fixture(autouse=True)
def folder(tmp_path):
    """The host's folder for users, for one test."""
    before = folder_paths.get_user_directory()
    folder_paths.set_user_directory(str(tmp_path))
    yield tuned_folder()
    folder_paths.set_user_directory(before)


def weight(model, block=0):
    return model.get_model_object(WEIGHT.format(block))


def quantised(model):
    for block in range(3):
        made = QuantizedTensor.from_float(weight(model, block).data, "TensorCoreFP8Layout")
        model.get_model_object(WEIGHT.format(block).removesuffix(".weight")).weight = torch.nn.Parameter(made, False)
    return model


def in_eight_bits(model):
    for block in range(3):
        weight(model, block).data = weight(model, block).data.to(torch.float8_e4m3fn)
    return model


CHANGES = {"as it is": lambda model: model, "quantised": quantised, "in eight bits": in_eight_bits}


@pytest.mark.parametrize("change", CHANGES)
def test_models_of_the_same_weights_are_the_same_and_others_are_not(change):
    first, again, other = (CHANGES[change](small_model(seed=seed)) for seed in (0, 0, 1))
    assert fingerprint(first) == fingerprint(again)
    assert fingerprint(first) != fingerprint(other)
    assert (fingerprint(first) == fingerprint(small_model())) == (change == "as it is")


def test_another_architecture_or_shape_is_another_model():
    model = small_model()
    before = fingerprint(model)
    assert fingerprint(small_model("sd3.5")) != before
    layer = model.get_model_object(WEIGHT.format(0).removesuffix(".weight"))
    layer.bias = torch.nn.Parameter(layer.bias[:-1].clone(), requires_grad=False)
    assert fingerprint(model) != before


def test_a_change_of_any_block_is_seen():
    model = small_model()
    found = {fingerprint(model)}
    for block in range(3):
        weight(model, block).data += 1
        found.add(fingerprint(model))
    assert len(found) == 4


def with_lora(model, strength=1.0):
    """A clone that the host adds something to every block's attention of."""
    clone = model.clone()
    clone.add_patches({WEIGHT.format(block): ("diff", (torch.ones(384, 128),)) for block in range(3)}, strength)
    return clone


def test_of_quantised_weights_no_whole_one_is_made(monkeypatch):
    model = quantised(small_model())

    def fail(*_):
        raise NotImplementedError

    monkeypatch.setattr(QuantizedTensor, "dequantize", fail)
    assert fingerprint(model)


@pytest.mark.parametrize("change", ["as it is", "in eight bits"])
@torch.no_grad()
def test_a_lora_is_not_seen_before_and_while_it_is_in_the_weights(change):
    model = CHANGES[change](small_model())
    before, bare = fingerprint(model), weight(model).float()
    changed = with_lora(model)
    assert fingerprint(changed) == before
    comfy.model_management.load_models_gpu([changed])
    assert not torch.equal(weight(model).float(), bare), "the host has put it into the weights"
    assert {fingerprint(changed), fingerprint(model), fingerprint(with_lora(model, 0.5))} == {before}
    comfy.model_management.unload_all_models()
    assert fingerprint(model) == before


def test_a_prompts_lora_is_not_seen():
    """As the host leaves it between the steps of a run: ``comfy/model_patcher.py: patch_hook_weight_to_device``."""
    model = small_model()
    before, key = fingerprint(model), WEIGHT.format(0)
    model.hook_backup[key] = (weight(model).detach().clone(), torch.device("cpu"))
    weight(model).data += 1
    assert fingerprint(model) == before


def test_both_in_the_weights_the_first_to_come_tells():
    model = small_model()
    before, key = fingerprint(model), WEIGHT.format(0)
    model.backup[key] = namedtuple("Backup", "weight")(weight(model).detach().clone())
    model.hook_backup[key] = (weight(model).detach() + 1, torch.device("cpu"))
    weight(model).data += 2
    assert fingerprint(model) == before


def test_weights_that_no_file_had_are_the_same_before_and_after_the_host_makes_them_zero():
    found = []
    for device in ("meta", "cpu"):
        model = small_model()
        layer = model.get_model_object(WEIGHT.format(0).removesuffix(".weight"))
        layer.weight = torch.nn.Parameter(torch.zeros(384, 128, device=device), requires_grad=False)
        found.append(fingerprint(model))
    assert found[0] == found[1] != fingerprint(small_model())


def test_sampling_unloading_and_compiling_change_nothing():
    model = small_model()
    before = fingerprint(model)
    sample(model, NOISE, steps=2)
    assert fingerprint(model) == before
    comfy.model_management.unload_all_models()
    assert fingerprint(model) == before
    compiled = model.clone()
    name = "diffusion_model.joint_blocks.0"
    compiled.add_object_patch(name, torch.compile(model.get_model_object(name)))
    compiled.patch_model()
    assert any("_orig_mod" in name for name, _ in model.model.named_parameters())
    assert fingerprint(compiled) == before
    compiled.unpatch_model()


def started(model, run=None, **sampling):
    """How a run looks when it starts."""
    seen = []

    def look(occasion):
        seen.append(occasion)
        return Choice()

    (run or sample)(attach(model, look), NOISE, **sampling)
    return seen[0]


def found_for(occasion, settings=NAMED, **changes):
    given = {
        "fingerprint": fingerprint(occasion.model),
        "model": "SD3",
        "sampler": occasion.sampler_name,
        "sigmas": tuple(occasion.sigmas),
        "tokens": occasion.tokens,
        "guided": occasion.guided,
        "settings": settings,
        "computed": 0.45,
        "similarity": 41.2,
        "full_seconds": 2.0,
        "tuned_seconds": 1.0,
        "version": "0.1.0",
    }
    return Tuned(**given | changes)


def report_of(model, **sampling):
    tuned = attach(model, choose_tuned)
    sample(tuned, NOISE, **sampling)
    return last_report(tuned)


@pytest.mark.parametrize(
    ("steps", "ends"), [(18, None), (28, "step 17, this run with 27"), (12, "step 17, this run with 11")]
)
def test_settings_whose_steps_are_of_another_run_are_used_and_that_is_told(steps, ends):
    model = attach(small_model(), NAMED)
    sample(model, NOISE, steps=steps)
    assert last_report(model).settings.full_steps == NAMED.full_steps
    expected = [f"full_steps is for another number of steps: it ends with {ends}"] if ends else []
    assert last_report(model).notes == expected


def test_what_was_found_for_a_run_is_used_and_told():
    model, run = small_model(), {"steps": 18}
    add(tuned_file(), found_for(started(model, **run)))
    report = report_of(model, **run)
    assert report.settings == replace(NAMED, full_steps="0-3,8,15-17")
    assert [step.number for step in report.steps if step.kind == "full"] == [0, 1, 2, 3, 8, 15, 16, 17]
    assert report.notes == ["tuned with euler, 18 steps and 64 tokens, where 45% was computed at 41.2 dB"]
    assert report.reasons == []


def test_every_family_and_sampler_has_a_name_that_an_entry_can_have():
    found = found_for(started(small_model()))
    for family in FAMILIES:
        assert replace(found, model=family.name).model == family.name
    for name in comfy.samplers.SAMPLER_NAMES:
        assert replace(found, sampler=name_sampler(comfy.samplers.sampler_object(name)))


def test_it_is_used_with_a_lora_in_the_weights():
    model = small_model()
    add(tuned_file(), found_for(started(model, steps=18)))
    assert report_of(with_lora(model), steps=18).settings.keep_ratio == NAMED.keep_ratio


def test_for_other_steps_its_places_in_the_run_are_kept():
    model = small_model()
    add(tuned_file(), found_for(started(model, steps=18)))
    report = report_of(model, steps=24)
    full = [step.number for step in report.steps if step.kind == "full"]
    assert report.settings.full_steps == name_steps(full)
    assert (full[0], full[-1]) == (0, 23)
    assert "tuned with euler, 18 steps and 64 tokens" in report.notes[0]


def test_what_was_measured_is_bounded_by_no_rule_and_what_is_carried_over_is():
    model, run = small_model(), {"steps": 18, "sampler": "dpmpp_2m"}
    add(tuned_file(), found_for(started(model, **run), replace(NAMED, correction=1.0)))
    measured, carried = report_of(model, **run), report_of(model, **run | {"steps": 20})
    assert measured.settings.correction == 1.0
    assert len(measured.notes) == 1
    assert carried.settings.correction == 0.5
    assert "for 20 steps of a sampler that looks back at earlier steps: correction 0.5" in carried.notes


@pytest.mark.parametrize(
    "run", [{"steps": 40}, {"cfg": 1.0}, {"sampler": "heun"}, {}], ids=["steps", "CFG", "sampler", "model"]
)
def test_where_nothing_was_found_it_is_as_automatic_and_says_what_to_do(run):
    add(tuned_file(), found_for(started(small_model(), steps=18)))
    model, run = small_model(seed=0 if run else 1), {"steps": 18, **run}
    automatic = attach(model)
    expected = sample(automatic, NOISE, **run)
    tuned = attach(model, choose_tuned)
    assert torch.equal(sample(tuned, NOISE, **run), expected)
    (note,) = set(last_report(tuned).notes) - set(last_report(automatic).notes)
    assert note.startswith(f"nothing was tuned for this model and {run.get('sampler', 'euler')}, about {run['steps']} ")
    assert ("without CFG" in note) == (run.get("cfg") == 1.0)
    assert note.endswith("as preset automatic; CAT Pruning Tune finds settings")


def test_others_files_are_used_and_a_bad_one_is_told_and_changes_nothing(folder):
    model = small_model()
    add(folder / "theirs.json", found_for(started(model, steps=18)))
    (folder / "bad.json").write_text("{")
    report = report_of(model, steps=18)
    assert report.settings.keep_ratio == NAMED.keep_ratio
    assert [note.split(" is no file")[0] for note in report.notes[:-1]] == ["bad.json"]
    assert report.notes[-1].startswith("tuned with euler")
    assert (folder / "bad.json").read_text() == "{"


def test_where_tokens_cannot_be_computed_idle_steps_take_the_place_of_what_was_measured():
    model, run = small_model(), {"steps": 18, "sampler": "dpmpp_2m"}
    add(tuned_file(), found_for(started(model, **run)))
    model.add_object_patch("diffusion_model.joint_blocks.0", model.get_model_object("diffusion_model.joint_blocks.0"))
    report = report_of(model, **run)
    assert report.count("pruned") == 0 < report.count("idle")
    assert report.settings.correction == 0.5


def test_models_without_a_family_have_it_too():
    case = further_case("SD15")
    model, noise = case.build(), case.noise(1, case.sizes["square"])
    occasion = started(model, run=lambda patched, _: case.sample(patched, noise, steps=16))
    assert occasion.tokens == noise[0, 0].numel()
    settings = replace(PRESETS["quality"], full_steps="0-5,9,15")
    add(tuned_file(), found_for(occasion, settings))
    tuned = attach(model, choose_tuned)
    case.sample(tuned, noise, steps=16)
    report = last_report(tuned)
    assert [step.number for step in report.steps if step.kind == "full"] == [0, 1, 2, 3, 4, 5, 9, 15]
    assert report.reasons == []


def test_the_node_offers_it(pack):
    model = small_model()
    add(tuned_file(), found_for(started(model, steps=18)))
    (patched,) = pack["CATPruning"].execute(model, True, preset="tuned").args
    sample(patched, NOISE, steps=18)
    assert "tuned with euler, 18 steps" in last_report(patched).text()


def test_a_bound_on_named_steps_is_told():
    model = attach(small_model(), NAMED)
    sample(model, NOISE, steps=18, sampler="dpmpp_sde")
    (note,) = [note for note in last_report(model).notes if "adds noise between" in note]
    assert "full_steps none" in note
