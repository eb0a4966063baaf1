"""Generate the same picture with and without CAT Pruning in a real ComfyUI, and say what it saved.

Starts the server headless, queues the demo workflow through its HTTP interface and leaves
baseline.png, cat.png, steps.png and report.json in ``demo/out``.
"""

from __future__ import annotations

import io
import json
import sys
import time
from typing import Any

import numpy as np
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from tqdm import tqdm

from tools.host import ROOT
from tools.server import Server, running_server
from tools.workflow import FOLDER, load_api

WORKFLOW = FOLDER / "cat_pruning_demo.json"
OUT = ROOT / "demo" / "out"


def main() -> int:
    OUT.mkdir(parents=True, exist_ok=True)
    bar = tqdm(total=4, bar_format="{desc:40} {n}/{total} [{elapsed}]", file=sys.stdout)
    bar.set_description_str("starting ComfyUI")
    with running_server() as server:
        prompt = load_api(WORKFLOW, server.get("/object_info"))
        # each sampler runs in a prompt of its own: the first warms the machine up, the others are timed
        outputs, seconds = {}, {}
        for label, names in (("warm-up", {"baseline"}), ("baseline", {"baseline"}), ("cat", {"cat", "steps"})):
            bar.update()
            bar.set_description_str(f"sampling: {label}")
            part = branch(prompt, names)
            if label == "warm-up":
                _vary_seed(part)
            seconds[label], outputs[label] = time_run(server, part)
        bar.update()
        bar.set_description_str("done")
        bar.close()
        report = collect(server, prompt, {**outputs["baseline"], **outputs["cat"]})
    report |= {"baseline_seconds": round(seconds["baseline"], 2), "cat_seconds": round(seconds["cat"], 2)}
    report["speed_up"] = round(seconds["baseline"] / seconds["cat"], 3)
    (OUT / "report.json").write_text(json.dumps(report, indent=1))
    print(report["text"])
    print(
        f"Speed-up {report['speed_up']:.2f}x ({seconds['baseline']:.1f} s -> {seconds['cat']:.1f} s), "
        f"MACs saved {report['macs']['saved']:.1%}, PSNR {report['psnr']:.1f} dB, SSIM {report['ssim']:.4f}"
    )
    print("Pictures and report: demo/out/baseline.png, cat.png, steps.png, report.json")
    return 0


def branch(prompt: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """The part of a prompt that the SaveImage nodes with these file name prefixes need."""
    wanted = [number for number, node in prompt.items() if node["inputs"].get("filename_prefix") in names]
    kept: dict[str, Any] = {}
    while wanted:
        number = wanted.pop()
        kept[number] = {**prompt[number], "inputs": dict(prompt[number]["inputs"])}
        wanted += [value[0] for value in prompt[number]["inputs"].values() if isinstance(value, list)]
    return kept


def _vary_seed(prompt: dict[str, Any]) -> None:
    for node in prompt.values():
        if "seed" in node["inputs"]:
            node["inputs"]["seed"] += 1


def time_run(server: Server, prompt: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """Seconds that the server took for a prompt, by its own clock where it tells, and the outputs by node."""
    started = time.perf_counter()
    history = server.result(server.queue(prompt))
    elapsed = time.perf_counter() - started
    stamps = {kind: message["timestamp"] for kind, message in history["status"]["messages"] if "timestamp" in message}
    if {"execution_start", "execution_success"} <= set(stamps):
        elapsed = (stamps["execution_success"] - stamps["execution_start"]) / 1000
    return elapsed, history["outputs"]


def collect(server: Server, prompt: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Any]:
    """Save the pictures and return the report with the similarity of the two."""
    pictures, report = {}, {}
    for number, output in outputs.items():
        if "report" in output:
            report = {**output["report"][0], "text": output["text"][0]}
        if prompt[number]["class_type"] == "SaveImage":
            name = prompt[number]["inputs"]["filename_prefix"]
            data = server.image(output["images"][0])
            (OUT / f"{name}.png").write_bytes(data)
            pictures[name] = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    one, other = pictures["baseline"], pictures["cat"]
    report["psnr"] = round(float(peak_signal_noise_ratio(one, other)), 2)
    report["ssim"] = round(float(structural_similarity(one, other, channel_axis=-1)), 5)
    return report


if __name__ == "__main__":
    sys.exit(main())
