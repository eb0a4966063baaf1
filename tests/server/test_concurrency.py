"""Runs beside, before and after each other: the same prompt gives the same latent and picture, bit for bit, and every
report tells of its own run, whatever else servers did, do, failed at or were interrupted in."""

import io
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import psutil
import pytest
import safetensors.numpy
from PIL import Image

from cat_core.settings import CATSettings
from tools.server import WorkflowError, running_server

pytestmark = pytest.mark.slow

NO_TIME = {"seconds": 0, "saved_seconds": 0}
OPTIONS = ("--disable-api-nodes",)
# with 10 steps of 256 tokens, or so many: pruned steps only, idle steps only, or both between refreshes
PRUNED = CATSettings(keep_ratio=0.3, refresh_interval=0, pruned_interval=1, warmup_steps=3, final_full_steps=1)
IDLE = CATSettings(keep_ratio=0.0, refresh_interval=2, pruned_interval=1, warmup_steps=3, final_full_steps=1)
MIXED = CATSettings(keep_ratio=0.6, refresh_interval=4, pruned_interval=2, warmup_steps=2, final_full_steps=1)
STEPS = 10
KINDS = {
    PRUNED: {"full": 4, "pruned": 6, "idle": 0, "skipped": 0},
    IDLE: {"full": 7, "pruned": 0, "idle": 3, "skipped": 0},
    MIXED: {"full": 4, "pruned": 2, "idle": 4, "skipped": 0},
}
# MiB that the server may grow by in ten prompts: 0.3 to 6.5 measured, while their caches took 144 all together.
GROWTH = 30
# Steps of a run that is there to be interrupted.
LONG = 2000


@dataclass
class Made:
    """What one sampler of a prompt made: latent float32 [B, C, H, W], pictures [B, H, W, 3], and the report on it."""

    latent: np.ndarray
    pictures: np.ndarray
    report: dict


@pytest.fixture(scope="module")
def server():
    with running_server(*OPTIONS) as running:
        yield running


@pytest.fixture(scope="module")
def other():
    """A server of its own, which runs one prompt at a time, undisturbed."""
    with running_server(*OPTIONS) as running:
        yield running


@pytest.fixture(scope="module")
def alone(other):
    """What a prompt makes by itself."""
    known = {}

    def run_alone(prompt):
        key = json.dumps(prompt)
        if key not in known:
            known[key] = run(other, prompt)["sampler"]
        return known[key]

    return run_alone


def graph(settings, seed=5, size=(256, 256), text="red apple on blue", batch=1, steps=STEPS):
    """A prompt of one sampler on the demo model; width and height as in the node, twice the picture's."""
    prompt = {}
    add(prompt, "loader", "CATPruningDemoLoader")
    add(prompt, "positive", "CLIPTextEncode", clip=["loader", 1], text=text)
    add(prompt, "negative", "CLIPTextEncode", clip=["loader", 1], text="")
    add(prompt, "settings", "CATPruningSettings", **json.loads(settings.to_json()))
    add(prompt, "cat", "CATPruning", model=["loader", 0], enabled=True, preset="automatic", settings=["settings", 0])
    add(prompt, "empty", "EmptySD3LatentImage", width=size[0], height=size[1], batch_size=batch)
    add_sampler(prompt, "sampler", ["empty", 0], seed=seed, steps=steps)
    return prompt


def add(prompt, name, kind, **inputs):
    prompt[name] = {"class_type": kind, "inputs": inputs}


def add_sampler(prompt, name, latent, **inputs):
    """A sampler with the nodes that keep its latent and picture and report on it."""
    given = {"model": ["cat", 0], "positive": ["positive", 0], "negative": ["negative", 0], "latent_image": latent}
    usual = {"seed": 5, "steps": STEPS, "cfg": 4.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    add(prompt, name, "KSampler", **given, **{**usual, **inputs})
    add(prompt, f"{name} latent", "SaveLatent", samples=[name, 0], filename_prefix="latent")
    add(prompt, f"{name} decoded", "VAEDecode", samples=[name, 0], vae=["loader", 2])
    add(prompt, f"{name} picture", "SaveImage", images=[f"{name} decoded", 0], filename_prefix="picture")
    add(prompt, f"{name} report", "CATPruningReport", model=["cat", 0], latent=[name, 0])


def run(server, prompt):
    return made(server, prompt, server.result(server.queue(prompt)))


def made(server, prompt, history, computed=True):
    """What each sampler of a finished prompt made; ``computed`` if they must have run in it, not be remembered."""
    (cached,) = [told["nodes"] for kind, told in history["status"]["messages"] if kind == "execution_cached"]
    names = [name for name, node in prompt.items() if node["class_type"] == "KSampler"]
    assert not computed or not set(names) & set(cached)
    results, outputs = {}, history["outputs"]
    for name in names:
        (latent,) = [server.image(one) for one in outputs[f"{name} latent"]["latents"]]
        pictures = [np.asarray(Image.open(io.BytesIO(server.image(i)))) for i in outputs[f"{name} picture"]["images"]]
        (report,) = outputs[f"{name} report"]["report"]
        results[name] = Made(safetensors.numpy.load(latent)["latent_tensor"], np.stack(pictures), report)
    return results


def again(prompt):
    """Another prompt for the server, which computes it anew, and the same one for the model: it drops blanks."""
    prompt = json.loads(json.dumps(prompt))
    prompt["positive"]["inputs"]["text"] += " "
    return prompt


def assert_same(one, other):
    """Latents and pictures equal bit for bit, and the reports but for the time that it took."""
    assert one.latent.dtype == other.latent.dtype == np.float32
    assert np.array_equal(one.latent, other.latent)
    assert np.array_equal(one.pictures, other.pictures)
    assert {**one.report, **NO_TIME} == {**other.report, **NO_TIME}


def assert_report(report, settings, tokens=256):
    """It is the report of a whole run with these settings, which went as planned."""
    assert report["finished"]
    assert CATSettings(**report["settings"]) == settings
    assert report["steps"] == KINDS[settings]
    assert (report["reasons"], report["notes"]) == ([], [])
    assert {step["tokens"] for step in report["per_step"]} == {tokens}


@pytest.mark.parametrize("settings", [PRUNED, IDLE, MIXED], ids=["pruned", "idle", "mixed"])
def test_the_same_prompt_makes_the_same_latent_in_one_server_and_in_another(server, other, settings):
    prompt = graph(settings)
    first = run(server, prompt)["sampler"]
    assert_report(first.report, settings)
    # something else in between: other settings, another noise, another size
    changed = run(server, graph(MIXED, seed=6, size=(256, 384)))["sampler"]
    assert changed.latent.shape != first.latent.shape
    assert_same(run(server, again(prompt))["sampler"], first)
    assert_same(run(other, prompt)["sampler"], first)


def test_after_a_restart_the_same_prompt_makes_the_same_latent(alone):
    with running_server(*OPTIONS) as restarted:
        for settings in (PRUNED, IDLE, MIXED):
            assert_same(run(restarted, graph(settings))["sampler"], alone(graph(settings)))


def test_another_seed_of_the_clustering_alone_makes_another_latent(server, alone):
    """Pruned steps are not the same whatever is set: what the other tests compare could differ."""
    changed = run(server, graph(replace(PRUNED, seed=1)))["sampler"]
    assert not np.array_equal(changed.latent, alone(graph(PRUNED)).latent)


def all_at_once(jobs):
    """Run every (server, prompts) in a thread of its own, each queues all of its prompts at once; what they made."""
    start = threading.Barrier(len(jobs))

    def client(running, prompts):
        start.wait()
        queued = [running.queue(prompt) for prompt in prompts]
        return [made(running, p, running.result(i))["sampler"] for p, i in zip(prompts, queued, strict=True)]

    with ThreadPoolExecutor(len(jobs)) as pool:
        return [future.result() for future in [pool.submit(client, *job) for job in jobs]]


def test_two_clients_of_a_server_get_what_each_gets_alone_and_the_reports_of_their_own(server, alone):
    # the same seeds: whoever got the other's latent would not see it from the noise
    ours = [graph(PRUNED, seed=seed, text="red apple on blue") for seed in (11, 12, 13)]
    theirs = [graph(IDLE, seed=seed, text="green apple on purple", size=(384, 256)) for seed in (11, 12, 13)]
    for prompts, results, settings, tokens in zip(
        (ours, theirs), all_at_once([(server, ours), (server, theirs)]), (PRUNED, IDLE), (256, 384), strict=True
    ):
        for prompt, result in zip(prompts, results, strict=True):
            assert_report(result.report, settings, tokens)
            assert_same(result, alone(prompt))


def test_two_servers_at_the_same_time_make_what_each_makes_alone(server, other, alone):
    ours = [graph(MIXED, seed=21, size=(384, 384)), graph(PRUNED, seed=22)]
    theirs = [graph(PRUNED, seed=23, size=(384, 384)), graph(MIXED, seed=22)]
    expected = [[alone(prompt) for prompt in prompts] for prompts in (ours, theirs)]
    at_once = all_at_once([(server, ours), (other, [again(prompt) for prompt in theirs])])
    for one, two in zip(chain(*at_once), chain(*expected), strict=True):
        assert_same(one, two)


def test_two_samplers_on_one_patched_model_at_two_sizes_do_not_disturb_each_other(server, alone):
    prompt = graph(MIXED, seed=31)
    add(prompt, "large", "EmptySD3LatentImage", width=384, height=256, batch_size=2)
    add_sampler(prompt, "second", ["large", 0], seed=32)
    # the first sampler's latent, by a way that also waits for the second sampler
    add(prompt, "both", "LatentBatch", samples1=["sampler", 0], samples2=["second", 0])
    add(prompt, "first of both", "LatentFromBatch", samples=["both", 0], batch_index=0, length=1)
    add(prompt, "late report", "CATPruningReport", model=["cat", 0], latent=["first of both", 0])
    history = server.result(server.queue(prompt))
    results = made(server, prompt, history)
    assert history["outputs"]["late report"]["report"] == [results["sampler"].report]
    assert_same(results["sampler"], alone(graph(MIXED, seed=31)))
    assert_same(results["second"], alone(graph(MIXED, seed=32, size=(384, 256), batch=2)))
    assert_report(results["sampler"].report, MIXED, tokens=256)
    assert_report(results["second"].report, MIXED, tokens=384)


def test_a_report_that_is_asked_for_later_tells_of_the_run_that_the_server_remembers(alone):
    prompts = [graph(MIXED, seed=33), graph(MIXED, seed=34, size=(384, 256))]
    with running_server("--cache-lru", "100", *OPTIONS) as remembering:
        for prompt in prompts:
            remembering.run({name: node for name, node in prompt.items() if name != "sampler report"})
        for prompt in prompts:
            history = remembering.result(remembering.queue(prompt))
            (told,) = [told for kind, told in history["status"]["messages"] if kind == "execution_cached"]
            assert "sampler" in told["nodes"]
            assert_same(made(remembering, prompt, history, computed=False)["sampler"], alone(prompt))


def wait_for_step(log, begin, step):
    """Wait until the sampler's progress bar has come to a step of ``LONG``; the log is read from ``begin``."""
    end = time.monotonic() + 60
    while step > max((int(n) for n in re.findall(rf"(\d+)/{LONG} \[", log_since(log, begin))), default=0):
        assert time.monotonic() < end, "the sampler does not get on"
        time.sleep(0.05)


def log_since(log, begin):
    return log.read_bytes()[begin:].decode(errors="replace")


# a picture that is large enough to be still in its three steps of warm-up when it is interrupted, and small ones
@pytest.mark.parametrize(
    ("settings", "size", "step", "told"),
    [
        (PRUNED, 768, 1, "nothing was pruned"),
        (PRUNED, 256, 30, "steps pruned or idle"),
        (replace(IDLE, refresh_interval=1000), 256, 30, "steps pruned or idle"),
    ],
    ids=["warm-up", "pruned", "idle"],
)
def test_an_interrupt_ends_the_prompt_as_interrupted_and_the_one_that_waits_is_right(
    server, alone, settings, size, step, told
):
    long = graph(settings, size=(size, size), steps=LONG)
    # the scheduler's sigmas must fall at so many steps, too
    long["sampler"]["inputs"]["scheduler"] = "normal"
    # another one every time: a newer host remembers more than the last prompt
    waits = graph(settings, seed=size)
    begin = server.log.stat().st_size
    interrupted, waiting = server.queue(long), server.queue(waits)
    wait_for_step(server.log, begin, step)
    server.interrupt()
    with pytest.raises(WorkflowError, match=r'^\["execution_interrupted".*"node_id": "sampler"'):
        server.result(interrupted, timeout=60)
    log = log_since(server.log, begin)
    assert "Processing interrupted" in log
    assert told in log
    assert not re.search("Traceback|Exception|rror|runs in full", log)
    # the same patched model: its settings are the same
    assert_same(made(server, waits, server.result(waiting))["sampler"], alone(waits))


def test_a_node_that_fails_between_two_samplers_leaves_both_right_once_it_is_mended(server, other, alone):
    prompt = graph(PRUNED, seed=51)
    # latents of 4 channels: what the first sampler made does not fit in
    add(prompt, "base", "EmptyLatentImage", width=256, height=256, batch_size=1)
    add(prompt, "between", "LatentComposite", samples_to=["base", 0], samples_from=["sampler", 0], x=0, y=0, feather=0)
    add_sampler(prompt, "second", ["between", 0], seed=52, denoise=0.6)
    with pytest.raises(WorkflowError, match=r'^\["execution_error".*"node_id": "between"'):
        run(server, prompt)
    prompt["base"]["class_type"] = "EmptySD3LatentImage"
    # the first sampler's latent is remembered from the prompt that failed, and so must be its report
    results = made(server, prompt, server.result(server.queue(prompt)), computed=False)
    assert_same(results["sampler"], alone(graph(PRUNED, seed=51)))
    assert_same(results["second"], run(other, again(prompt))["second"])
    assert_report(results["second"].report, PRUNED)


def test_a_model_that_fails_says_what_it_says_without_the_node_and_the_next_prompt_is_right(server, alone):
    prompt = graph(PRUNED, seed=61)
    # a video's latents
    video = {"width": 256, "height": 256, "length": 5, "batch_size": 1}
    prompt["empty"] = {"class_type": "EmptyHunyuanLatentVideo", "inputs": video}
    said = []
    for enabled in (False, True):
        prompt["cat"]["inputs"]["enabled"] = enabled
        with pytest.raises(WorkflowError) as failure:
            run(server, prompt)
        kind, details = json.loads(str(failure.value))
        said.append([kind, details["node_id"], details["exception_type"], details["exception_message"]])
    assert said[0] == said[1]
    assert said[0][:2] == ["execution_error", "sampler"]
    assert_same(run(server, graph(PRUNED, seed=61))["sampler"], alone(graph(PRUNED, seed=61)))


def test_models_and_nodes_freed_while_prompts_run_make_no_difference(server, alone):
    prompts = [graph(settings, seed=71) for settings in (PRUNED, MIXED)]
    queued = [server.queue(prompts[0])]
    server.post("/free", unload_models=True, free_memory=True)
    queued.append(server.queue(prompts[1]))
    for prompt, number in zip(prompts, queued, strict=True):
        assert_same(made(server, prompt, server.result(number))["sampler"], alone(prompt))


def test_ten_prompts_in_a_row_leave_no_memory_taken(server):
    process = psutil.Process(server.pid)

    def run_some(seeds):
        """Run prompts of all settings; the memory that their caches took, in MiB, all together."""
        taken = 0
        for seed in seeds:
            settings = (PRUNED, MIXED, IDLE)[seed % 3]
            taken += run(server, graph(settings, seed=seed, size=(512, 384)))["sampler"].report["cache_bytes"]
        return taken / 2**20

    run_some(range(80, 85))  # the allocator and the host's own caches grow at first
    before = process.memory_info().rss
    taken = run_some(range(85, 95))
    grown = (process.memory_info().rss - before) / 2**20
    assert taken > 2 * GROWTH
    assert grown < GROWTH
