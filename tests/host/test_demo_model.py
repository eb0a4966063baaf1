"""The demo model: its file, its words, its pictures with the host's stock nodes, and files that are not it."""

import json
import logging

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import nodes
from cat_core.host import demo as module
from cat_core.host.demo import (
    DEMO_FILE,
    DISTILLED_FILE,
    MAX_WORDS,
    REFINEMENT_FILE,
    TRANSFORMER,
    DemoTokenizer,
    load_demo,
    read_demo_file,
)
from cat_core.similarity import psnr
from tools.demo_data import COLOURS, vocabulary
from tools.workflow import FOLDER

PROMPTS = DEMO_FILE.with_name("prompts.txt")


@pytest.fixture(scope="module")
def metadata():
    with safe_open(DEMO_FILE, framework="pt") as file:
        return file.metadata()


@pytest.fixture(scope="module")
def words(metadata):
    return json.loads(metadata["vocabulary"])


@pytest.fixture(scope="module")
def demo():
    with torch.inference_mode():
        return load_demo()


@pytest.fixture(autouse=True)
def _as_the_host_runs_nodes():
    with torch.inference_mode():
        yield


def encoded(demo, text):
    return nodes.CLIPTextEncode().encode(demo[1], text)[0]


def painted(demo, prompt, batch=1, seed=3):
    """A picture by the stock nodes, in as few steps as tell two prompts apart."""
    model, _, vae = demo
    latent = {"samples": torch.zeros(batch, 16, 32, 32)}
    positive, negative = encoded(demo, prompt), encoded(demo, "")
    latent = nodes.KSampler().sample(model, seed, 4, 4.0, "euler", "simple", positive, negative, latent)[0]
    return nodes.VAEDecode().decode(vae, latent)[0]


def test_the_stock_nodes_paint_what_the_prompt_says(demo):
    picture = painted(demo, "red apple on blue", batch=2)
    assert picture.shape == (2, 128, 128, 3)
    assert picture.isfinite().all()
    assert 0 <= picture.min() <= picture.max() <= 1
    # the corners show the background
    corner = picture[:, :8, :8].mean(dim=(0, 1, 2))
    assert corner.argmax() == 2
    assert painted(demo, "red apple on red")[:, :8, :8].mean(dim=(0, 1, 2)).argmax() == 0


def test_the_same_seed_paints_the_same_picture(demo):
    assert torch.equal(painted(demo, "owl on yellow"), painted(demo, "owl on yellow"))


@pytest.mark.parametrize("prompt", ["red apple on blue", "ghost on black"])
def test_the_distilled_variant_paints_in_8_steps_what_guidance_paints_in_28(demo, prompt):
    def paint(models, steps, cfg):
        model, _, vae = models
        latent = {"samples": torch.zeros(1, 16, 64, 64)}
        prompts = encoded(demo, prompt), encoded(demo, "")
        latent = nodes.KSampler().sample(model, 3, steps, cfg, "euler", "simple", *prompts, latent)[0]
        return nodes.VAEDecode().decode(vae, latent)[0]

    wanted = paint(demo, 28, 4.0)
    # without guidance the base model is paler and less sure of shapes
    assert psnr(paint(load_demo(distilled=True), 8, 1.0), wanted) > psnr(paint(demo, 8, 1.0), wanted) + 2


def test_a_missing_variant_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "DISTILLED_FILE", tmp_path / DISTILLED_FILE.name)
    with pytest.raises(FileNotFoundError, match=r"cat_demo_sd3_8_steps_lora.safetensors is missing"):
        load_demo(distilled=True)


def test_every_factor_of_the_variant_belongs_to_a_weight(demo):
    weights = demo[0].model.state_dict()
    factors = load_file(DISTILLED_FILE)
    layers = {name.partition(".lora_")[0] for name in factors}
    assert len(factors) == 2 * len(layers)
    for layer in layers:
        change = factors[f"{layer}.lora_B.weight"].float() @ factors[f"{layer}.lora_A.weight"].float()
        assert change.shape == weights[f"{layer}.weight"].shape
        assert change.isfinite().all()


def test_an_empty_prompt_is_encoded_as_nothing(demo):
    ((context, extra),) = encoded(demo, "")
    assert context.shape == (1, MAX_WORDS, TRANSFORMER["adm_in_channels"])
    assert extra["pooled_output"].abs().max() == 0


def test_the_pooled_vector_is_the_mean_of_the_words(demo):
    pooled = {text: encoded(demo, text)[0][1]["pooled_output"] for text in ("owl", "red", "red owl", "owl owl")}
    assert torch.equal(pooled["owl"], pooled["owl owl"])
    # to the rounding of half precision, which the host picks for text encoders
    assert torch.allclose(pooled["red owl"], (pooled["red"] + pooled["owl"]) / 2, atol=1e-3)


def test_unknown_words_change_nothing_and_are_logged(demo, caplog):
    expected = encoded(demo, "red apple on blue")[0][0]
    with caplog.at_level(logging.WARNING):
        given = encoded(demo, "Red xylograph apple, on qwerty blue!")[0][0]
    assert torch.equal(given, expected)
    assert "qwerty, xylograph" in caplog.text


def test_known_words_are_not_logged(demo, caplog):
    encoded(demo, "red apple and teapot on blue gradient")
    assert caplog.text == ""


def test_a_prompt_that_is_too_long_is_cut_and_logged(demo, caplog):
    long = "red apple on blue " * 6
    given = encoded(demo, long)[0][0]
    assert torch.equal(given, encoded(demo, "red apple on blue " * 4)[0][0])
    assert f"only the first {MAX_WORDS} known words" in caplog.text


def test_a_prompt_of_exactly_the_longest_length_is_not_called_too_long(caplog):
    tokenizer = DemoTokenizer(["", "owl"])
    assert tokenizer.encode("owl " * MAX_WORDS) == [1] * MAX_WORDS
    assert caplog.text == ""


def test_every_word_of_the_vocabulary_can_be_written(words):
    tokenizer = DemoTokenizer(words)
    assert [tokenizer.encode(word)[:2] for word in words[1:]] == [[i, 0] for i in range(1, len(words))]


def test_the_example_prompts_use_known_words_only(words):
    workflow = json.loads((FOLDER / "cat_pruning_demo.json").read_text(encoding="utf-8"))
    prompts = [node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "CLIPTextEncode"]
    assert len(prompts) == 2
    assert {word for prompt in prompts for word in prompt.split()} <= set(words)


def shapes(height, width):
    """A smooth picture with two edges, as the demo model paints them: [1, H, W, 3] in 0..1."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    picture = torch.stack([0.2 + 0.5 * x, 0.3 + 0.4 * y, 0.8 - 0.3 * x * y], -1)
    picture[(x - 0.4) ** 2 + (y - 0.5) ** 2 < 0.06] = torch.tensor([0.8, 0.2, 0.15])
    return picture.unsqueeze(0)


def test_the_autoencoder_gives_back_what_it_was_given(demo):
    picture = shapes(64, 96)
    latent = nodes.VAEEncode().encode(demo[2], picture)[0]
    assert latent["samples"].shape == (1, 16, 16, 24)
    again = nodes.VAEDecode().decode(demo[2], latent)[0]
    assert psnr(again, picture) > 30


def block_borders(picture):
    """How much neighbouring pixels of the background differ across the borders of patches."""
    steps = picture[:, :16].diff(dim=2).abs().mean((0, 1, 3))
    return float(steps[torch.arange(len(steps)) % 4 == 3].mean())


def test_pictures_are_refined_and_linear_ones_are_not(demo):
    def paint(vae):
        latent = {"samples": torch.zeros(1, 16, 32, 32)}
        prompts = encoded(demo, "red apple on blue"), encoded(demo, "")
        latent = nodes.KSampler().sample(demo[0], 3, 12, 4.0, "euler", "simple", *prompts, latent)[0]
        return nodes.VAEDecode().decode(vae, latent)[0]

    linear, refined = (paint(vae) for vae in (load_demo(refined=False)[2], demo[2]))
    assert block_borders(refined) < block_borders(linear) / 3
    assert psnr(refined, linear) > 20


def test_a_refinement_that_is_missing_or_of_another_model_is_named(monkeypatch, tmp_path):
    other = tmp_path / REFINEMENT_FILE.name
    monkeypatch.setattr(module, "REFINEMENT_FILE", other)
    with pytest.raises(FileNotFoundError, match=r"cat_demo_sd3_refinement.safetensors is missing"):
        load_demo()
    save_file({"0.weight": torch.zeros(3)}, other)
    with pytest.raises(ValueError, match=r"cat_demo_sd3_refinement.safetensors is not the CAT demo model's"):
        load_demo()


def test_a_picture_that_does_not_divide_is_cropped_as_the_host_does(demo):
    latent = nodes.VAEEncode().encode(demo[2], shapes(66, 97))[0]
    assert latent["samples"].shape == (1, 16, 16, 24)


def test_latents_have_about_unit_spread_for_the_model(demo):
    latent = nodes.VAEEncode().encode(demo[2], shapes(64, 64))[0]["samples"]
    assert 0.1 < demo[0].model.process_latent_in(latent).std() < 3


def test_the_file_is_small_enough_for_the_repository():
    assert DEMO_FILE.stat().st_size <= 32 * 2**20


def test_the_file_says_how_it_came_about_and_under_which_licence(metadata, words):
    training = json.loads(metadata["training"])
    assert words == vocabulary()
    assert json.loads(metadata["architecture"]) == TRANSFORMER
    assert all(training["iterations"][stage] > 0 for stage in ("half", "full"))
    assert all(0 < training["loss"][stage] < 1 for stage in ("half", "full"))
    assert "fluent-emoji" in training["data"]
    assert "MIT" in metadata["license"]


def test_all_weights_of_the_file_are_finite():
    assert [name for name, tensor in load_file(DEMO_FILE).items() if not tensor.isfinite().all()] == []


def test_the_benchmark_prompts_are_64_different_ones_of_known_words(words):
    lines = PROMPTS.read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(set(lines)) == 64
    unknown = {word for line in lines for word in line.split() if word not in words}
    assert unknown == set()
    assert max(len(line.split()) for line in lines) <= MAX_WORDS


def test_the_benchmark_prompts_ask_for_every_background():
    last = {line.removesuffix(" gradient").split()[-1] for line in PROMPTS.read_text(encoding="utf-8").splitlines()}
    assert last == set(COLOURS)


def altered(tmp_path, metadata, change=lambda tensors: None, **entries):
    """A copy of the demo file with other tensors or metadata; entries of None are left out."""
    tensors = load_file(DEMO_FILE)
    change(tensors)
    entries = {key: value for key, value in {**metadata, **entries}.items() if value is not None}
    save_file(tensors, tmp_path / "altered.safetensors", entries)
    return tmp_path / "altered.safetensors"


def test_an_unaltered_copy_is_accepted(tmp_path, metadata):
    load_demo(altered(tmp_path, metadata))


def test_a_missing_file_is_named_with_its_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"other\.safetensors is missing from"):
        load_demo(tmp_path / "other.safetensors")


@pytest.mark.parametrize("size", [0, 5, 1000, 1_000_000])
def test_a_truncated_file_is_called_damaged(tmp_path, size):
    file = tmp_path / "cut.safetensors"
    file.write_bytes(DEMO_FILE.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"cut\.safetensors"):
        load_demo(file)


def test_another_kind_of_file_is_refused(tmp_path):
    file = tmp_path / "pickle.safetensors"
    torch.save({"a": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match=r"pickle\.safetensors"):
        load_demo(file)


@pytest.mark.parametrize("value", [None, "no json", '"red apple"', '{"red": 1}', "[1, 2]", "[]"])
def test_a_file_without_a_proper_vocabulary_is_refused(tmp_path, metadata, value):
    with pytest.raises(ValueError, match=r"altered\.safetensors.*vocabulary"):
        load_demo(altered(tmp_path, metadata, vocabulary=value))


def test_a_vocabulary_of_another_length_than_its_vectors_is_refused(tmp_path, metadata, words):
    with pytest.raises(ValueError, match=r"altered\.safetensors"):
        load_demo(altered(tmp_path, metadata, vocabulary=json.dumps(words[:-1])))


@pytest.mark.parametrize("value", [None, "no json", json.dumps({**TRANSFORMER, "num_blocks": 7})])
def test_a_file_of_another_architecture_is_refused(tmp_path, metadata, value):
    with pytest.raises(ValueError, match=r"altered\.safetensors.*architecture"):
        load_demo(altered(tmp_path, metadata, architecture=value))


@pytest.mark.parametrize("part", ["model.x_embedder.proj.weight", "text.position", "vae.mean"])
def test_a_file_that_lacks_a_tensor_is_refused_by_its_name(tmp_path, metadata, part):
    with pytest.raises(ValueError, match=r"altered\.safetensors.*" + part):
        load_demo(altered(tmp_path, metadata, lambda tensors: tensors.pop(part)))


@pytest.mark.parametrize("part", ["model.x_embedder.proj.weight", "text.word.weight", "vae.mean"])
def test_a_file_with_a_tensor_of_another_shape_is_refused_by_its_name(tmp_path, metadata, part):
    with pytest.raises(ValueError, match=r"altered\.safetensors.*" + part):
        load_demo(altered(tmp_path, metadata, lambda tensors: tensors.update({part: torch.zeros(3)})))


def test_tensors_that_belong_to_nothing_are_refused(tmp_path, metadata):
    with pytest.raises(ValueError, match=r"altered\.safetensors.*surplus"):
        load_demo(altered(tmp_path, metadata, lambda tensors: tensors.update({"model.surplus": torch.zeros(3)})))


def test_reading_the_file_gives_the_three_parts():
    tensors, _ = read_demo_file()
    assert {name.split(".")[0] for name in tensors} == {"model", "text", "vae"}
    assert all(np.prod(tensor.shape) > 0 for tensor in tensors.values())
