"""The benchmark on a GPU, small on the CPU: all of its parts and its page; what it counts, from made-up events."""

import json
import warnings
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers.torch_compile import COMPILE_KEY
from torch.autograd import DeviceType

from bench import gpu, gpu_plan
from bench.gpu_counting import LAUNCHES, STEP, SYNCHRONISES, count_waits, read_events, summarise
from bench.gpu_document import NOT_COUNTED, document, find
from bench.gpu_models import MODELS, variants
from bench.gpu_plan import OF_A_ROUND, STOCK, Part, measure_missing, plan
from bench.gpu_summary import find_launch_bound
from bench.resuming import keep, read_figures
from bench.speed_measuring import NotPrunedError
from bench.speed_models import DEMO, Setup, configure, draw_prompt
from cat_core.host.attention import OVERRIDE
from cat_core.host.tokens import TokenGrid
from cat_core.settings import PRESETS
from tools.family_table import Figures

TINY = Setup(DEMO, size=(16, 16), cfg=4.0)
WAYS = {"tiny": {"float32": TINY, "override": replace(TINY, override=True)}}
HERE = {"engine": "e", "host": "1", "torch": "2", "card": "CPU", "driver": "none", "override": "the same"}
CARD = 80 * 2**30
META = torch.device("meta")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The folder of a whole run."""
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "machine", lambda: HERE)
        patch.setattr(gpu_plan, "MOST", 1)
        gpu.run(folder, WAYS, (8,), minutes=60)
    return folder


def test_a_run_measures_all_and_writes_the_page(page):
    figures = read_figures(page / gpu.FIGURES, HERE)
    assert set(figures) == {"machine", *(part.path for part in plan(WAYS, (8,)))}
    assert [path for path, part in figures.items() if "reason" in part] == ["tiny/float32/runs/8/paper"]
    text = (page / "gpu.md").read_text()
    steps = figures["tiny/override/steps"]["seconds"]
    assert set(steps) == {"unpatched", "full", "full, nothing kept", "0.3", "0.5", "0.75", "idle"}
    assert text.count("| tiny, override | ") == len(("0.3", "0.5", "0.75")) + len(("idle",))
    assert "\nCPU, driver none, torch 2, ComfyUI 1" in text
    assert "## Runs: tiny, float32" in text
    assert "- tiny/float32/runs/8/paper: in full: its 8 steps are all warm-up" in text


def test_nothing_is_counted_on_the_cpu(page):
    figures = read_figures(page / gpu.FIGURES, HERE)
    assert figures["tiny/float32/counts"] == {"counted": None}
    text = (page / "gpu.md").read_text()
    assert f"GPU\n\n{NOT_COUNTED[0].upper()}{NOT_COUNTED[1:]}.\n" in text
    assert f"| {NOT_COUNTED} |" in text


def part(name, run, steps=2, model="a/b"):
    return Part(model, name, TINY, steps, run)


def test_what_is_measured_is_not_measured_again(tmp_path):
    file, seen = tmp_path / "gpu.json", []
    parts = [part(name, lambda rounds, name=name: seen.append(name) or {"seconds": 1.0}) for name in ("one", "two")]
    assert measure_missing(parts[:1], read_figures(file, HERE), file, 1) == 0
    assert measure_missing(parts, read_figures(file, HERE), file, 1) == 0
    assert seen == ["one", "two"]
    assert set(read_figures(file, HERE)) == {"machine", "a/b/one", "a/b/two"}


@pytest.mark.parametrize("what", ["engine", "card", "driver", "torch"])
def test_of_another_machine_everything_is(tmp_path, what):
    keep(tmp_path / "gpu.json", {"machine": HERE}, "a/b/one", {"seconds": 1.0})
    other = {**HERE, what: "another"}
    assert "a/b/one" in read_figures(tmp_path / "gpu.json", HERE)
    assert read_figures(tmp_path / "gpu.json", other) == {"machine": other}


def test_an_interrupt_loses_the_part_at_work_alone(tmp_path):
    def stop(rounds):
        raise KeyboardInterrupt

    file = tmp_path / "gpu.json"
    with pytest.raises(KeyboardInterrupt):
        measure_missing([part("one", lambda rounds: {"seconds": 1.0}), part("two", stop)], {"machine": HERE}, file, 1)
    assert json.loads(file.read_text()) == {"machine": HERE, "a/b/one": {"seconds": 1.0}}


def test_what_would_not_end_in_time_is_left(tmp_path):
    """A step takes a second: ten steps end within a minute, a hundred do not."""
    parts = [part(STOCK, lambda rounds: {"seconds": 1.0})]
    parts += [part(name, lambda rounds: {}, steps) for name, steps in (("long", 100), ("short", 10))]
    figures = {"machine": HERE}
    assert measure_missing(parts, figures, tmp_path / "gpu.json", 1) == 1
    assert set(figures) == {"machine", f"a/b/{STOCK}", "a/b/short"}
    assert measure_missing(parts, figures, tmp_path / "gpu.json", 0) == 1


@pytest.mark.parametrize(("step", "rounds"), [(0.01, 5), (2.0, 3), (100.0, 1)])
def test_rounds_fill_a_minute(tmp_path, step, rounds):
    seen = []
    figures = {"machine": HERE, f"a/b/{STOCK}": {"seconds": step}}
    measure_missing([part("ten", lambda n: seen.append(n) or {}, 10)], figures, tmp_path / "gpu.json", float("inf"))
    assert seen == [rounds]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(NotPrunedError("no room"), "no room"), (torch.OutOfMemoryError("CUDA"), "out of memory")],
)
def test_what_cannot_be_measured_is_kept_with_the_reason(tmp_path, error, reason):
    def fail(rounds):
        raise error

    figures = {"machine": HERE}
    measure_missing([part("steps", fail)], figures, tmp_path / "gpu.json", 1)
    assert figures["a/b/steps"] == {"reason": reason}
    assert f"- a/b/steps: {reason}" in document(figures)
    assert find(figures, "steps") == []


def test_other_errors_are_not_hidden(tmp_path):
    with pytest.raises(ZeroDivisionError):
        measure_missing([part("steps", lambda rounds: 1 // 0)], {"machine": HERE}, tmp_path / "gpu.json", 1)


def test_there_is_no_page_without_a_gpu(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["gpu", "--out", str(tmp_path)])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="no CUDA"):
        gpu.main()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("setup", MODELS.values(), ids=MODELS)
def test_models_are_as_published(setup):
    """As the table of families has them, at the size of the checkpoint or at that of a video at 480p."""
    published = Figures.of(setup.checkpoint)
    model = configure(setup).get_model({}, device=META)
    transformer = model.diffusion_model
    assert sum(weight.numel() for weight in transformer.parameters()) == published.parameters
    assert published.family.cost(transformer) == published.cost
    if setup.size:
        frames, rows, columns = setup.size
        factor = 16 if model.latent_format.latent_channels == 48 else 8
        assert (4 * frames - 3, rows * factor, columns * factor) == (81, 480, 832)
    else:
        assert TokenGrid(setup.checkpoint.size, published.family.patch(transformer)).tokens == published.tokens


def shallow(setup):
    """The model with a block of each kind, without memory."""
    config = configure(replace(setup, dtype="bfloat16"))
    depths = {"depth", "depth_single_blocks", "num_layers", "n_layers"} & set(config.unet_config)
    # what SD3 calls its depth is its width
    config.unet_config.update(dict.fromkeys(["num_blocks"] if setup.name.startswith("SD3") else depths, 1))
    return config.get_model({}, device=META)


@torch.inference_mode()
@pytest.mark.parametrize("name", sorted(set(MODELS) - {"PixArt-Sigma"}))  # whose noise levels are looked up in memory
def test_prompts_are_what_models_take(name):
    setup = MODELS[name]
    model = shallow(setup)
    latent = torch.empty(1, model.latent_format.latent_channels, *(setup.size or setup.checkpoint.size), device=META)
    ((text, more),) = draw_prompt(model.model_config.unet_config, setup.checkpoint.text, 1)
    given = {key: value.to(META) for key, value in more.items()}
    conds = model.extra_conds(cross_attn=text.to(META), noise=latent, device=META, **given)
    call = {key: cond.process_cond(batch_size=1, area=None).cond for key, cond in conds.items()}
    assert model.apply_model(latent, torch.ones(1, device=META), transformer_options={}, **call).shape == latent.shape


def test_weights_that_do_not_fit_are_of_eight_bits():
    qwen = MODELS["Qwen-Image"]
    assert list(variants(qwen, CARD)) == ["bf16", "bf16, override", "bf16, compiled", "fp8"]
    assert list(variants(qwen, CARD // 2)) == ["fp8", "fp8, override", "fp8, compiled"]
    assert variants(qwen, CARD // 2)["fp8, override"] == replace(qwen, dtype="float8_e4m3fn", override=True)


@torch.inference_mode()
@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn"])
def test_weights_of_16_and_8_bits_sample(dtype):
    setup = Setup("PixArt-Sigma", blocks=2, size=(64, 64), text=5, dtype=dtype)
    layers = [layer for layer in setup.model.model.diffusion_model.modules() if isinstance(layer, torch.nn.Linear)]
    assert {layer.weight.dtype for layer in layers} == {getattr(torch, dtype)}
    assert setup.sample(setup.model, 1).isfinite().all()


def test_ways_are_those_of_the_hosts_nodes():
    plain, override, compiled = TINY, replace(TINY, override=True), replace(TINY, compiled=True)
    found = [
        (OVERRIDE in way.model.model_options["transformer_options"], is_compiled(way.model))
        for way in (plain, override, compiled)
    ]
    assert found == [(False, False), (True, False), (False, True)]
    assert plain.model.model is override.model.model is compiled.model.model


def is_compiled(model):
    return bool(model.get_wrappers(WrappersMP.APPLY_MODEL, COMPILE_KEY))


def test_all_that_is_asked_of_a_model_is_planned():
    paths = [part.path for part in plan({"m": {"bf16": TINY, "fp8": TINY}}, (8, 50))]
    assert len(paths) == len(set(paths)) == 3 + 2 + 2 * len(PRESETS) + 3
    assert {"m/bf16/runs/50/balanced", "m/bf16/proof", "m/bf16/parts", "m/fp8/steps", "m/fp8/counts"} <= set(paths)
    assert not any(path.startswith("m/fp8/runs") for path in paths)
    assert OF_A_ROUND == 4 * (2 + 6)


def test_waits_are_the_warnings_of_them():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for message in (SYNCHRONISES, "another", f"{SYNCHRONISES} (Triggered internally)"):
            warnings.warn(message, stacklevel=1)
    assert count_waits(caught) == 2


def event(name, seconds=0.0, kernels=(), children=(), device=DeviceType.CPU):
    parts = [SimpleNamespace(name=name, duration=1e6 * duration) for name, duration in kernels]
    return SimpleNamespace(
        name=name, cpu_time_total=1e6 * seconds, kernels=parts, cpu_children=list(children), device_type=device
    )


def test_launches_are_counted_and_parts_are_timed():
    """A stretch of the GPU's time that has a part's name is no kernel."""
    multiply = event("aten::mm", 0.1, [("gemm", 0.5)])
    chosen = event("selection", 0.3, [("selection", 9.0)], [event("aten::topk", 0.2, [("sort", 0.1)])])
    step = event(STEP, 1.0, [(STEP, 9.0)], [multiply, chosen])
    launches = [event(name) for name in (*LAUNCHES, "cudaLaunchKernelExC", "cudaMemcpyAsync")]
    on_device = event(STEP, 9.0, device=DeviceType.CUDA)
    found = read_events([step, multiply, chosen, *launches, on_device])
    assert found["launches"] == 4
    assert found["seconds"] == {STEP: pytest.approx((1.0, 0.6)), "selection": pytest.approx((0.3, 0.1))}
    assert find_launch_bound(found) == [STEP, "selection"]


def counted(launching, computing, waits):
    return {"synchronisations": waits, "launches": 100, "seconds": {STEP: (launching, computing)}}


def test_the_page_names_what_is_launch_bound():
    kinds = {
        "unpatched": summarise([counted(0.1, 0.4, 2)]),
        "0.3": summarise([counted(0.3, 0.1, 1), counted(0.2, 0.1, 3)]),
    }
    text = document({"machine": HERE, "m/bf16/counts": {"counted": kinds}})
    assert "- **Launch-bound** steps of m, bf16: 0.3.\n" in text
    assert "| m, bf16 | unpatched | 2 | 100 | 0.1000 s | 0.4000 s |  |\n" in text
    assert "| m, bf16 | 0.3 | 2 | 100 | 0.2500 s | 0.1000 s | step |\n" in text
    assert NOT_COUNTED not in text
