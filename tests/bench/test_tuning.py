"""What tuning found is what is measured, on prompts that it did not see; the second model is another one."""

import numpy as np
import pytest
import torch
from comfy.ldm.modules.diffusionmodules.mmdit import OpenAISignatureMMDITWrapper
from comfy.ops import disable_weight_init
from safetensors.torch import save_file

from bench import finding, second_model
from bench.methods import OURS, TUNED, TUNED_TO, found_file, methods, read_found, target
from bench.records import read_rows
from bench.sampling import DemoSampler, read_prompts
from bench.second_pictures import Pictures
from bench.tasks import TASKS
from cat_core.host import demo
from cat_core.settings import CATSettings
from tools.host import ROOT

pytestmark = pytest.mark.usefixtures("as_the_host_runs_nodes")
tuned_tasks = pytest.mark.parametrize(
    "task", [task for task in TASKS.values() if task.tuned], ids=lambda task: task.name
)


@tuned_tasks
def test_what_was_found_is_measured_beside_the_presets(task):
    found = read_found(task)
    assert found.keys() == {f"{sampler} {steps}" for sampler in finding.SAMPLERS for steps in finding.STEPS}
    for target_of, by_preset in found.items():
        sampler, steps = target_of.split()
        table = methods(int(steps), task, sampler)
        ours = {method.name: method.settings for method in table if method.group == TUNED}
        assert ours == {f"tuned to {name}": CATSettings(**knobs) for name, knobs in by_preset.items()}
        assert [method.name for method in table if method.group == OURS] == list(by_preset) == list(TUNED_TO)


@tuned_tasks
def test_the_benchmark_has_neither_the_prompt_nor_the_seeds_of_tuning(task):
    rows = read_rows(ROOT / "docs" / f"{task.name}.csv")
    assert read_prompts(task)[finding.LINES[task.name]] not in {row.prompt for row in rows}
    assert not {row.seed for row in rows} & set(range(finding.SEED, finding.SEED + finding.SEEDS))


def test_nothing_is_measured_of_what_was_not_tuned(monkeypatch, tmp_path):
    monkeypatch.setattr("bench.methods.ROOT", tmp_path)
    assert not found_file(TASKS["tuned"]).exists()
    assert not any(method.group == TUNED for method in methods(28, TASKS["tuned"]))


def test_it_finds_settings_within_the_cost_of_a_preset(host, capsys):
    settings = finding.tune(host, "red apple on blue", "euler", 8, "quality")
    assert isinstance(settings, CATSettings)
    assert "euler, 8 steps, at most 0." in capsys.readouterr().out


def test_the_second_model_has_other_width_depth_and_words_and_samples(monkeypatch, tmp_path):
    monkeypatch.setattr(second_model, "FILE", tmp_path / "second.safetensors")
    with pytest.raises(FileNotFoundError, match="train-second"):
        DemoSampler(16, TASKS["tuned_second"])
    assert all(second_model.TRANSFORMER[name] != demo.TRANSFORMER[name] for name in ("depth", "num_blocks"))
    parts = {
        "model": OpenAISignatureMMDITWrapper(**second_model.TRANSFORMER, operations=disable_weight_init),
        "text": demo.DemoTextEncoder(len(second_model.WORDS)),
        "vae": demo.DemoAutoencoder(),
    }
    weights = {f"{part}.{name}": tensor for part in parts for name, tensor in parts[part].state_dict().items()}
    save_file({name: 0.02 * torch.randn(tensor.shape) for name, tensor in weights.items()}, second_model.FILE)
    sample = DemoSampler(16, TASKS["tuned_second"]).sample(target(2), "euler", "hills dawn", 1)
    assert sample.latent.shape == (1, 16, 16, 16)
    assert torch.isfinite(sample.latent).all()


@pytest.mark.parametrize("kind", second_model.KINDS)
def test_its_pictures_are_what_the_caption_says_and_the_same_every_time(kind):
    draw = Pictures().draw
    first, again = (draw(f"{kind} ocean", np.random.default_rng(1)) for _ in range(2))
    other, warm = draw(f"{kind} ocean", np.random.default_rng(2)), draw(f"{kind} desert", np.random.default_rng(1))
    assert first.shape == (second_model.SIZE, second_model.SIZE, 3)
    assert np.array_equal(first, again)
    assert 0 <= first.min() < first.max() <= 255
    assert not np.array_equal(first, other)
    assert warm[..., 0].mean() > first[..., 0].mean()
