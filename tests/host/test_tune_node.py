"""The node that tunes: what it says while it runs, when it is interrupted, and what it refuses."""

import re
import sys

import folder_paths
import pytest
import torch
from comfy.model_management import InterruptProcessingException, interrupt_current_processing

from small import conditioning, noise_for, small_model

pytestmark = pytest.mark.host

STEPS = 10
WIDGETS = {"steps": STEPS, "cfg": 4.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
WIDGETS |= {"aim": "closest at a cost", "cost": 0.6, "likeness": 30.0, "budget": 6, "seed": 0, "seeds": 1}


@pytest.fixture(autouse=True)
def _folders(tmp_path, monkeypatch):
    """Folders of the host's users and pictures, for one test."""
    for folder in ("user_directory", "temp_directory"):
        monkeypatch.setattr(folder_paths, folder, str(tmp_path))


@pytest.fixture
def node(pack):
    """The node's module, the pack's own copy."""
    return sys.modules[pack["CATPruningTune"].__module__]


def tune(pack, **changed):
    latent = {"samples": torch.zeros(noise_for(1, 16, 16).shape)}
    prompts = {"positive": conditioning(1), "negative": conditioning(2)}
    return pack["CATPruningTune"].execute(latent, model=small_model(), **prompts, **{**WIDGETS, **changed})


def test_every_run_is_told_with_a_chart(pack, node, monkeypatch):
    told = []
    monkeypatch.setattr(node, "show", lambda text, cls, images=(): told.append((text, images)))
    output = tune(pack)
    *progress, (text, images) = told
    assert [line.split(" runs")[0] for line, _ in progress] == [f"{run} of 6" for run in range(1, 1 + len(progress))]
    assert len(progress) > 2
    assert all(len(images) == 1 for _, images in progress)
    assert ["Best so far" in line for line, _ in progress] == [False] + [True] * (len(progress) - 1)
    assert text == output.args[2]
    # the result has a chart of its own
    assert (images, len(output.ui.as_dict()["images"])) == ((), 1)


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        (0, r"Interrupted\. Nothing was measured\.$"),
        (1, r"Interrupted\. In full: .*Nothing was chosen"),
        (3, r"Interrupted\. In full: .*Chosen: .*Fewer steps were not measured\.\nKept for preset tuned\.$"),
    ],
)
def test_interrupted_it_says_what_was_found(pack, node, monkeypatch, runs, expected):
    said = []

    def show(text, *_):
        said.append(text)
        if len(said) == runs:
            interrupt_current_processing()

    monkeypatch.setattr(node, "show", show)
    interrupt_current_processing(runs == 0)
    with pytest.raises(InterruptProcessingException):
        tune(pack)
    assert len(said) == runs + 1
    assert re.match(expected, said[-1], re.DOTALL), said[-1]


def test_an_aim_that_does_not_exist_is_refused_with_those_that_do(pack):
    with pytest.raises(ValueError, match=r"aim must be one of closest at a cost, .+, curve only, not 'best'"):
        tune(pack, aim="best")
