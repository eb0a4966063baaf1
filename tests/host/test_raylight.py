"""The nodes for Raylight, on two workers in processes of their own, as Raylight keeps them by the real ``ray``."""

import json
import logging
import os
import shutil
import sys
import tempfile

import pytest
import torch

from cat_core.host.patcher import attach, last_report
from cat_core.host.raylight import reason_against_tokens
from cat_core.settings import PRESETS, CATSettings
from raylight import Worker
from small import noise_for, sample, small_model
from tools.host import HOST, ROOT

APART = {"is_xdit": False, "is_fsdp": False, "pipefusion_enabled": False, "dp_degree": 2, "pp_degree": 1}
STEPS = 18
KNOBS = {"keep_ratio": 0.5, "warmup_steps": 3, "refresh_interval": 4, "pruned_interval": 1}
"""Of all kinds of steps some."""


@pytest.fixture(scope="module")
def ray():
    """Started as Raylight does: workers find the host, and neither this folder nor its packages."""
    # a socket's path is short
    folder = tempfile.mkdtemp(prefix="ray")
    paths = os.pathsep.join(map(str, (HOST, ROOT / "tests")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray = pytest.importorskip("ray")
        work = os.path.join(folder, "work")
        os.mkdir(work)
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=200 * 2**20,
            _temp_dir=folder,
            _node_ip_address="127.0.0.1",
            runtime_env={"working_dir": work, "env_vars": {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}},
        )
        yield ray
        ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def start(ray, parallel=APART):
    return ray.remote(num_cpus=0)(Worker).remote(parallel)


@pytest.fixture(scope="module")
def started(ray):
    return [start(ray), start(ray)]


@pytest.fixture
def actors(ray, started, nodes):
    """What Raylight's nodes hand on; in the beginning its workers are as they were loaded."""
    actors = {"workers": started}
    share(ray, actors)
    nodes.CATPruningRaylight.execute(actors, False)
    return actors


@pytest.fixture(scope="module")
def nodes(pack):
    """The host is not given them without Raylight; their module is there all the same."""
    folder, _, _ = pack["CATPruning"].__module__.rpartition(".")
    return sys.modules[f"{folder}.raylight"]


def share(ray, actors, **parallel):
    """Tell workers how they share runs."""
    ray.get([worker.set_parallel_dict.remote({**APART, **parallel}) for worker in actors["workers"]])


def paint(ray, actors, *noises, **kwargs):
    """A latent by every worker."""
    pairs = zip(actors["workers"], noises, strict=True)
    return ray.get([worker.common_ksampler.remote(noise, steps=STEPS, **kwargs) for worker, noise in pairs])


NOISES = noise_for(1, 16, 16), noise_for(1, 16, 16, seed=5)


def alone(settings=None, noise=NOISES[0]):
    """The latent and the report of this process."""
    model = attach(small_model(), settings)
    return sample(model, noise, steps=STEPS), last_report(model)


def report_of(nodes, actors, latent):
    output = nodes.CATPruningReportRaylight.execute(actors, {"samples": latent})
    assert output.args[0]["samples"] is latent
    assert output.ui["text"] == (output.args[1],)
    return output.args[1], output.ui["report"][0], output.args[2]


def counted(report):
    return {kind: report.count(kind) for kind in ("full", "pruned", "idle", "skipped")}


def test_workers_know_nothing_of_the_pack(ray, actors):
    def find(_):
        from importlib.util import find_spec

        return find_spec("comfy") is not None, find_spec("cat_core")

    assert ray.get(actors["workers"][0].model_function_runner_get_values.remote(find)) == (True, None)


@pytest.mark.parametrize("preset", ["automatic", "quality", "speed"])
def test_every_worker_paints_what_this_process_does(ray, actors, nodes, preset):
    out = nodes.CATPruningRaylight.execute(actors, True, preset).args
    assert out == (actors,)
    latents = paint(ray, actors, *NOISES)
    wanted = [alone(PRESETS.get(preset), noise) for noise in NOISES]
    for latent, (right, report) in zip(latents, wanted, strict=True):
        assert torch.equal(latent, right)
        # every latent has the report of the worker that made it
        text, told, picture = report_of(nodes, actors, latent)
        assert told["steps"] == counted(report)
        assert told["per_step"] == report.to_dict()["per_step"]
        assert (told["reasons"], told["notes"]) == ([], [])
        assert "did not make this latent" not in text
        assert picture.shape[0] == 1


def test_settings_and_a_mask_arrive(ray, actors, nodes, pack):
    mask = torch.zeros(1, 16, 16)
    mask[:, :4, :4] = 1
    settings = pack["CATPruningSettings"].execute(**KNOBS, focus_mask=mask).args[0]
    nodes.CATPruningRaylight.execute(actors, True, settings=settings)
    latent, _ = paint(ray, actors, *NOISES)
    right, report = alone(CATSettings(**KNOBS, focus_mask=mask))
    assert report.count("pruned") >= 3
    assert torch.equal(latent, right)
    assert not torch.equal(latent, alone(CATSettings(**KNOBS))[0])
    assert report_of(nodes, actors, latent)[1]["settings"] == json.loads(settings.to_json())


def test_later_settings_take_the_place_of_earlier_ones(ray, actors, nodes):
    for preset in ("speed", "quality"):
        nodes.CATPruningRaylight.execute(actors, True, preset)
    latent, _ = paint(ray, actors, *NOISES)
    assert torch.equal(latent, alone(PRESETS["quality"])[0])
    assert report_of(nodes, actors, latent)[1]["notes"] == []


def test_switched_off_workers_paint_as_without_it(ray, actors, nodes):
    stock = paint(ray, actors, *NOISES)
    assert torch.equal(stock[0], sample(small_model(), NOISES[0], steps=STEPS))
    nodes.CATPruningRaylight.execute(actors, True, "speed")
    assert not torch.equal(paint(ray, actors, *NOISES)[0], stock[0])
    nodes.CATPruningRaylight.execute(actors, False, "speed")
    assert all(map(torch.equal, paint(ray, actors, *NOISES), stock))
    assert "does not carry CAT Pruning" in report_of(nodes, actors, stock[0])[0]


SHARED = {
    "the tokens (sequence parallel)": {"is_xdit": True, "ulysses_degree": 2, "ring_degree": 1, "cfg_degree": 1},
    "the conditionings (CFG parallel)": {"is_xdit": True, "ulysses_degree": 1, "ring_degree": 1, "cfg_degree": 2},
    "the weights (FSDP)": {"is_fsdp": True},
}


@pytest.mark.parametrize("what", SHARED)
def test_workers_that_share_a_run_have_idle_steps_only_and_say_why(ray, actors, nodes, what):
    share(ray, actors, **SHARED[what])
    nodes.CATPruningRaylight.execute(actors, True, "balanced")
    latents = paint(ray, actors, NOISES[0], NOISES[0])
    right, wanted = alone(PRESETS["balanced"].without_tokens())
    assert all(torch.equal(latent, right) for latent in latents)
    text, report, _ = report_of(nodes, actors, latents[0])
    assert report["steps"] == counted(wanted)
    assert report["steps"]["idle"] >= 5
    assert f"Idle steps in place of pruned ones: Raylight's workers share {what}" in text


def test_rings_share_tokens_too():
    degrees = {"ulysses_degree": 1, "ring_degree": 2}, {"ulysses_degree": 2, "ring_degree": 1}
    rings, ulysses = map(reason_against_tokens, degrees)
    assert rings == ulysses is not None


def test_one_worker_for_each_run_is_no_sharing(ray, actors, nodes):
    share(ray, actors, is_xdit=True, ulysses_degree=1, ring_degree=1, cfg_degree=1)
    nodes.CATPruningRaylight.execute(actors, True, "speed")
    latent, _ = paint(ray, actors, *NOISES)
    assert report_of(nodes, actors, latent)[1]["steps"]["pruned"] > 0


@pytest.mark.parametrize(
    ("parallel", "says"),
    [
        ({"pipefusion_enabled": True, "pp_degree": 2}, "other blocks of the model (PipeFusion)"),
        ({"tensor_degree": 2}, "in a way that is not known (tensor_degree)"),
    ],
    ids=["PipeFusion", "unknown"],
)
def test_where_nothing_can_be_left_out_nothing_is_attached(ray, actors, nodes, parallel, says, caplog):
    nodes.CATPruningRaylight.execute(actors, True, "speed")
    share(ray, actors, **parallel)
    with caplog.at_level(logging.WARNING):
        nodes.CATPruningRaylight.execute(actors, True, "speed")
    assert says in caplog.text
    latent, _ = paint(ray, actors, *NOISES)
    assert torch.equal(latent, sample(small_model(), NOISES[0], steps=STEPS))
    text, report, _ = report_of(nodes, actors, latent)
    assert text.startswith("Not attached: ")
    assert says in text
    assert report == {}


@pytest.mark.parametrize(
    ("parallel", "enabled", "says"),
    [
        ({}, True, "Attached to 2 workers."),
        (
            {"cfg_degree": 2},
            True,
            "Attached to 2 workers. Idle steps in place of pruned ones: Raylight's workers share",
        ),
        ({"pipefusion_enabled": True}, True, "Not attached: each of Raylight's workers has other blocks"),
        ({}, False, "Off: the workers sample as without this node."),
    ],
    ids=["apart", "shared", "PipeFusion", "off"],
)
def test_the_node_says_what_it_did(ray, actors, nodes, monkeypatch, parallel, enabled, says):
    said = []
    monkeypatch.setattr(nodes, "show", lambda text, node: said.append(text))
    share(ray, actors, **parallel)
    nodes.CATPruningRaylight.execute(actors, enabled)
    assert [text[: len(says)] for text in said] == [says]


def test_before_a_run_and_for_another_latent_the_report_says_so(ray, actors, nodes):
    nodes.CATPruningRaylight.execute(actors, True)
    assert "No run yet" in report_of(nodes, actors, NOISES[0])[0]
    latent, _ = paint(ray, actors, *NOISES)
    assert "did not make this latent" in report_of(nodes, actors, latent + 1)[0]


def test_a_name_that_is_no_preset_is_refused(nodes, actors):
    with pytest.raises(ValueError, match="preset must be one of automatic, balanced"):
        nodes.CATPruningRaylight.execute(actors, True, "tuned")


def test_a_worker_on_another_machine_without_the_pack_is_told(actors, nodes, monkeypatch, tmp_path):
    monkeypatch.setattr(nodes.raylight, "PACKAGE", tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"not on this worker's machine: there is no .*elsewhere"):
        nodes.CATPruningRaylight.execute(actors, True)


def test_a_worker_that_ends_is_told_and_new_ones_work(ray, actors, nodes):
    nodes.CATPruningRaylight.execute(actors, True, "speed")
    lost = start(ray)
    with_lost = {"workers": [actors["workers"][0], lost]}
    nodes.CATPruningRaylight.execute(with_lost, True, "quality")
    ray.kill(lost)
    for broken in (
        lambda: nodes.CATPruningRaylight.execute(with_lost, True, "quality"),
        lambda: nodes.CATPruningRaylight.execute(with_lost, False),
        lambda: nodes.CATPruningReportRaylight.execute(with_lost, {"samples": NOISES[0]}),
    ):
        with pytest.raises(RuntimeError, match="A worker of Raylight has ended"):
            broken()
    nodes.CATPruningRaylight.execute(actors, True, "speed")
    latent, _ = paint(ray, actors, *NOISES)
    assert torch.equal(latent, alone(PRESETS["speed"])[0])
