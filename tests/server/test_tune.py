"""Tuning in a real ComfyUI, through its HTTP interface: what it finds, keeps for preset *tuned*, and refuses."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from cat_core.tuned import read
from tools.server import WorkflowError, running_server
from tools.workflow import FOLDER, load_api

TUNE = FOLDER / "cat_pruning_tune.json"
STEPS = 12


@pytest.fixture(scope="module")
def server():
    with running_server("--disable-api-nodes") as running:
        yield running


@pytest.fixture
def prompt(server):
    """The workflow with fewer and shorter runs; nodes by what they are."""
    nodes = load_api(TUNE, server.get("/object_info"))
    named = {number: node["class_type"] for number, node in nodes.items() if node["class_type"] != "CLIPTextEncode"}
    given = {named.get(number, number): node for number, node in nodes.items()}
    for node in given.values():
        for value in node["inputs"].values():
            if isinstance(value, list):
                value[0] = named.get(value[0], value[0])
    given["CATPruningTune"]["inputs"].update(seeds=1, budget=5, steps=STEPS)
    given["KSampler"]["inputs"]["steps"] = STEPS
    given["report"] = {"class_type": "PreviewAny", "inputs": {"source": ["CATPruningTune", 2]}}
    return given


def only(prompt, *names):
    """The nodes of these names, and what they need."""
    needed = {name: prompt[name] for name in names}
    behind = {value[0] for node in needed.values() for value in node["inputs"].values() if isinstance(value, list)}
    return needed if behind <= set(needed) else only(prompt, *needed, *(behind - set(needed)))


def kept(server):
    """Samplers of what is kept for preset tuned."""
    file = server.log.parent / "user" / "default" / "cat_pruning" / "tuned.json"
    return [entry.sampler for entry in read(file)] if file.exists() else []


def picture(server, output):
    (described,) = output["images"]
    return np.asarray(Image.open(io.BytesIO(server.image(described))))


def test_what_is_found_is_shown_used_and_kept(server, prompt):
    outputs = server.run(prompt)
    text = outputs["report"]["text"][0]
    assert text.startswith(f"In full: {STEPS} steps in ")
    assert "Likeness to that is of pictures." in text
    assert text.endswith("Kept for preset tuned.")
    assert picture(server, outputs["CATPruningTune"]).shape == (400, 640, 3)
    # in full, chosen, and fewer steps, of 128 pixels each
    three = np.split(picture(server, outputs["PreviewImage"]), 3, axis=1)
    assert [part.shape for part in three] == [(128, 128, 3)] * 3
    assert not any(np.array_equal(three[0], part) for part in three[1:])
    (report,) = outputs["CATPruningReport"]["report"]
    assert report["reasons"] == []
    assert report["macs"]["saved"] >= 0.49
    assert f"full_steps {report['settings']['full_steps']}." in text

    prompt["CATPruning"]["inputs"] = {"model": ["CATPruningDemoLoader", 0], "enabled": True, "preset": "tuned"}
    outputs = server.run(only(prompt, "CATPruningReport"))
    (tuned,) = outputs["CATPruningReport"]["report"]
    assert tuned["settings"] == report["settings"]
    (note,) = tuned["notes"]
    assert note.startswith("tuned with")


def test_queued_again_nothing_is_run_again(server, prompt):
    server.run(prompt)
    prompt["KSampler"]["inputs"]["seed"] += 1
    history = server.result(server.queue(prompt))
    (cached,) = [told["nodes"] for kind, told in history["status"]["messages"] if kind == "execution_cached"]
    assert "CATPruningTune" in cached
    assert "KSampler" not in cached


def test_what_goes_into_samplercustomadvanced_is_tuned_too(server, prompt):
    tune = prompt["CATPruningTune"]["inputs"]
    model, positive, negative, _ = (tune.pop(name) for name in ("model", "positive", "negative", "vae"))
    # behind the largest seed there is another one
    custom = {
        "guider": ("CFGGuider", {"model": model, "positive": positive, "negative": negative, "cfg": 4.0}),
        "sampler": ("KSamplerSelect", {"sampler_name": "dpmpp_2m"}),
        "sigmas": ("BasicScheduler", {"model": model, "scheduler": "simple", "steps": STEPS, "denoise": 1.0}),
        "noise": ("RandomNoise", {"noise_seed": 2**64 - 1}),
    }
    for name, (kind, inputs) in custom.items():
        prompt[name] = {"class_type": kind, "inputs": inputs}
        tune[name] = [name, 0]
    tune.update(seeds=2, steps=1)
    outputs = server.run(only(prompt, "report"))
    assert outputs["report"]["text"][0].startswith(f"In full: {STEPS} steps in ")
    assert "is of latents" in outputs["report"]["text"][0]
    assert "dpmpp_2m" in kept(server)


def test_inputs_that_do_not_belong_together_are_refused_in_words(server, prompt):
    del prompt["CATPruningTune"]["inputs"]["positive"]
    with pytest.raises(WorkflowError, match="Connect model and positive, as to KSampler, or guider"):
        server.run(only(prompt, "report"))


def test_an_interrupt_ends_the_prompt_as_interrupted_and_keeps_what_was_found(prompt):
    with running_server("--disable-api-nodes") as server:
        prompt["CATPruningTune"]["inputs"].update(seeds=1, budget=12, steps=28)
        queued = server.queue(only(prompt, "report"))
        end = time.monotonic() + 120
        # a chart of every run; the first one is in full
        while len([*server.log.parent.glob("temp/**/*.png")]) < 2:
            assert time.monotonic() < end
            time.sleep(0.1)
        assert kept(server) == []
        server.interrupt()
        with pytest.raises(WorkflowError, match=r'^\["execution_interrupted".*"node_id": "CATPruningTune"'):
            server.result(queued, timeout=60)
        assert kept(server) == ["euler"]
