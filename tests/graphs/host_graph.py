"""Graphs of nodes, built in Python and run by the host's own executor in this process.

``graph = Graph()``; ``model = graph("SmallModel")`` adds a node and stands for its first output, ``model[1]`` for its
second; ``graph.run(latent)`` runs what the outputs need and returns their values. Node names are the host's.
"""

from __future__ import annotations

import asyncio
import functools
import types
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import execution
import torch
from comfy.patcher_extension import WrappersMP

import nodes
from cat_core.settings import CATSettings
from contract.oracle import Oracle
from small import CONTEXT, POOLED, noise_for, small_model


class GraphError(RuntimeError):
    """The host refused the graph, or a node failed; the message is the host's."""


@dataclass(frozen=True)
class Output:
    """An output of a node in a graph."""

    node: str
    number: int = 0

    def __getitem__(self, number: int) -> Output:
        return Output(self.node, number)


class Graph:
    """Nodes and links; the same graph may be run again, by the same executor, which caches as a server does."""

    def __init__(self) -> None:
        _host()
        self.prompt: dict[str, dict[str, Any]] = {}
        self.server = _Client()
        arguments = {"cache_type": execution.CacheType.CLASSIC, "cache_args": {"lru": 0, "ram": 0, "ram_inactive": 0}}
        self.executor = execution.PromptExecutor(self.server, **arguments)

    def __call__(self, kind: str, **inputs: Any) -> Output:
        """Add a node; inputs that are left out take their widgets' defaults."""
        given = {name: _link(value) for name, value in {**_defaults(kind), **inputs}.items()}
        number = str(len(self.prompt) + 1)
        self.prompt[number] = {"class_type": kind, "inputs": given}
        return Output(number)

    def ksampler(self, model: Output, **inputs: Any) -> Output:
        """The stock sampler on a small model: 10 steps of euler with CFG 4 of a 16 x 16 latent, unless said."""
        sampling = {"seed": 3, "steps": 10, "cfg": 4.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
        for name, seed in (("positive", 1), ("negative", 2)):
            inputs[name] = inputs.get(name) or self("SmallPrompt", seed=seed)
        inputs["latent_image"] = inputs.get("latent_image") or self("SmallLatent")
        return self("KSampler", model=model, **{**sampling, **inputs})

    def custom(self, guider: Output, sigmas: Output, latent: Output | None = None) -> Output:
        """The stock custom sampler: euler of a 16 x 16 latent, unless said."""
        return self(
            "SamplerCustomAdvanced",
            noise=self("RandomNoise", noise_seed=3),
            guider=guider,
            sampler=self("KSamplerSelect", sampler_name="euler"),
            sigmas=sigmas,
            latent_image=latent or self("SmallLatent"),
        )

    def part(self, model: Output, latent: Output, steps: int, start: int, end: int, noise="enable", rest="disable"):
        """A part of a run of the stock advanced sampler: ``noise`` is whether it adds some, ``rest`` leaves some."""
        prompts = {"positive": self("SmallPrompt", seed=1), "negative": self("SmallPrompt", seed=2)}
        inputs = {"add_noise": noise, "noise_seed": 3, "steps": steps, "cfg": 4.0, "return_with_leftover_noise": rest}
        inputs |= {"sampler_name": "euler", "scheduler": "simple", "start_at_step": start, "end_at_step": end}
        return self("KSamplerAdvanced", model=model, latent_image=latent, **inputs, **prompts)

    def run(self, *outputs: Output) -> list[Any]:
        """Values of the outputs; latents as tensors.

        Raises:
            GraphError: with the host's message.
        """
        prompt = dict(self.prompt)
        wanted = [f"keep {i}" for i in range(len(outputs))]
        for name, output in zip(wanted, outputs, strict=True):
            prompt[name] = {"class_type": "Keep", "inputs": {"value": _link(output), "again": uuid.uuid4().hex}}
        ours = str(uuid.uuid4())
        valid, error, _, problems = asyncio.run(execution.validate_prompt(ours, prompt, None))
        if not valid:
            raise GraphError(f"{error} {problems}")
        Keep.kept.clear()
        self.executor.execute(prompt, ours, {}, wanted)
        if not self.executor.success:
            raise GraphError(str(self.executor.status_messages[-1]))
        values = [Keep.kept[name] for name in wanted]
        Keep.kept.clear()
        return [value["samples"] if isinstance(value, dict) and "samples" in value else value for value in values]

    def report(self, model: Output, latent: Output) -> dict[str, Any]:
        """What CAT Pruning Report tells of a run, see ``cat_core.report.Report.to_dict``."""
        node = self("CATPruningReport", model=model, latent=latent)
        self.run(node[1])
        return self.executor.history_result["outputs"][node.node]["report"][0]


class SmallModel:
    """A small model with random weights, see ``small.CONFIGS``."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802, the host's name
        return {"required": {"name": ("STRING", {"default": "sd3"}), "dtype": ("STRING", {"default": "float32"})}}

    def load(self, name, dtype):
        return (small_model(name, dtype=getattr(torch, dtype)),)


class SmallPrompt:
    """A random prompt."""

    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"seed": ("INT", {"default": 1}), "tokens": ("INT", {"default": 7})}}

    def encode(self, seed, tokens):
        draw = torch.Generator().manual_seed(seed)
        pooled = torch.randn(1, POOLED, generator=draw)
        return ([[torch.randn(1, tokens, CONTEXT, generator=draw), {"pooled_output": pooled}]],)


class SmallLatent:
    """An empty latent, or a random picture's."""

    RETURN_TYPES = ("LATENT",)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        sizes = {name: ("INT", {"default": default}) for name, default in (("height", 16), ("width", 16), ("batch", 1))}
        return {"required": {**sizes, "picture": ("BOOLEAN", {"default": False})}}

    def make(self, height, width, batch, picture):
        noise = noise_for(batch, height, width, seed=50)
        return ({"samples": noise if picture else torch.zeros_like(noise)},)


class Keep:
    """The end of a graph: what arrives is kept for the test."""

    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "keep"
    kept: dict[str, Any] = {}  # noqa: RUF012, filled by one run and emptied after it

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"value": ("*",), "again": ("STRING", {})}, "hidden": {"name": "UNIQUE_ID"}}

    @classmethod
    def VALIDATE_INPUTS(cls, input_types):  # noqa: N802, with this argument the host leaves types alone
        return True

    def keep(self, value, again, name):
        self.kept[name] = value
        return {}


class _Client(types.SimpleNamespace):
    """What the executor wants of a server: somebody to tell."""

    def __init__(self) -> None:
        super().__init__(client_id=None, last_node_id=None, last_prompt_id=None, told=[])

    def send_sync(self, event: str, data: Any, client: str | None = None) -> None:
        self.told.append((event, data))


@functools.cache
def _host() -> None:
    """The host's own nodes, and these."""
    asyncio.run(nodes.init_builtin_extra_nodes())
    nodes.NODE_CLASS_MAPPINGS.update(
        {kind.__name__: kind for kind in (SmallModel, SmallPrompt, SmallLatent, Keep, DenseModel)}
    )


def _defaults(kind: str) -> dict[str, Any]:
    required = nodes.NODE_CLASS_MAPPINGS[kind].INPUT_TYPES().get("required", {})
    options = {name: spec[1] if len(spec) > 1 else {} for name, spec in required.items()}
    return {name: option["default"] for name, option in options.items() if "default" in option}


def _link(value: Any) -> Any:
    return [value.node, value.number] if isinstance(value, Output) else value


TOKENS = {"keep_ratio": 0.5, "warmup_steps": 3, "refresh_interval": 3, "pruned_interval": 1, "final_full_steps": 1}
"""Knobs with which a run of ten steps or more has pruned steps."""
IDLE = {"keep_ratio": 0.0, "warmup_steps": 3, "refresh_interval": 2}
"""Knobs with which it has idle ones."""

Build = Callable[[Graph, Callable[[Output], Output]], tuple[Output, Output]]
"""Gets a graph and the place of CAT Pruning, from model to model; gives the sampler's model and the latent."""


@dataclass(frozen=True)
class SideBySide:
    """One graph's latent without and with CAT Pruning; ``runs`` are reports of the latter, as the engine keeps them."""

    stock: torch.Tensor
    pruned: torch.Tensor
    runs: list[Any]

    @property
    def run(self) -> Any:
        """The report of the last run, most often the only one."""
        return self.runs[-1]

    @property
    def difference(self) -> float:
        """Relative distance of the two."""
        return relative(self.pruned, self.stock)

    @property
    def kinds(self) -> str:
        """Of every step, a letter each: full, pruned, idle."""
        return "".join(step.kind[0] for step in self.run.steps)


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    """Distance of two latents over the size of the second."""
    return float((one - other).norm() / other.norm())


def side_by_side(build: Build, **knobs: Any) -> SideBySide:
    """Run a graph without and with CAT Pruning; ``knobs`` are those of CAT Pruning Settings."""
    stock, graph = _stock(build), Graph()
    settings = graph("CATPruningSettings", **knobs)
    model, latent = build(graph, lambda model: graph("CATPruning", model=model, settings=settings))
    (pruned,) = graph.run(latent)
    (patcher,) = graph.run(model)
    return SideBySide(stock, pruned, [report for _, report in patcher.attachments["cat_pruning"].reports])


@functools.lru_cache(maxsize=100)
def _stock(build: Build) -> torch.Tensor:
    """Without CAT Pruning, once for all knobs that a graph is tested with."""
    graph = Graph()
    (latent,) = graph.run(build(graph, lambda model: model)[1])
    return latent


def dense(build: Build, *runs: Any, **knobs: Any) -> torch.Tensor:
    """The latent that pruned runs must give, computed without leaving anything out, see ``contract/oracle.py``."""
    graph = Graph()
    DenseModel.oracles = iter([GraphOracle(run, CATSettings(**knobs)) for run in runs])
    (latent,) = graph.run(build(graph, lambda model: graph("DenseModel", model=model))[1])
    return latent


def dense_model(model: Any, run: Any, settings: CATSettings) -> Any:
    """The same for one run without a graph: a clone of the unpatched model to sample from."""
    DenseModel.oracles = iter([GraphOracle(run, settings)])
    return DenseModel().attach(model)[0]


def evaluated_once(run: Any, prompts: int = 2) -> bool:
    """Whether the sampler evaluated each step once; of others no dense run knows what a second look changes."""
    return all(len(step.calls) == prompts for step in run.steps)


class GraphOracle(Oracle):
    """Knows also that calls of one step may differ, and that another node's second look at a conditioning is its own.

    The dense run makes the calls of the pruned one in the same order, with a sampler that evaluates a step once.
    """

    def __init__(self, run: Any, settings: CATSettings):
        super().__init__(run, settings)
        self.steps = {step.number: step for step in run.steps}
        self.calls = {number: iter(step.calls) for number, step in self.steps.items()}

    @staticmethod
    def _mask(step: Any) -> torch.Tensor | None:
        return None if step is None or step.selected is None else torch.as_tensor(step.selected)

    def begin(self, sigmas: torch.Tensor) -> None:
        """Know all steps, and the noise level that a part of a run ends at; some samplers change ``sigmas`` later."""
        self.sigmas = sigmas[sigmas > 0]
        self.masks = [self._mask(self.steps.get(number)) for number in range(len(sigmas))]

    def _apply_model(self, executor, x, t, concat=None, context=None, control=None, options=None, **extra):
        step = int((self.sigmas - float(options["sigmas"][0])).abs().argmin())
        names = zip(options["uuids"], options["cond_or_uncond"], strict=True)
        called = {name: next(self.calls[step]) for name in names}
        if any(name in self.past and self.past[name][-1][0] == step for name in called):
            return executor(x, t, concat, context, control, options, **extra)
        if all(call.computed == call.tokens for call in called.values()):
            self.masks[step] = None
        elif not any(call.computed for call in called.values()):
            self.masks[step] = torch.zeros(1, 1, 1, dtype=torch.bool)
        return super()._apply_model(executor, x, t, concat, context, control, options, **extra)


class DenseModel:
    """A model that computes all tokens of every step; every sampling run has an oracle of its own."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "attach"
    oracles: Iterator[GraphOracle] = iter(())

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"model": ("MODEL",)}}

    def attach(self, model):
        clone, oracles, current = model.clone(), self.oracles, []

        def begin(executor, noise, latent, sampler, sigmas, *args, **kwargs):
            current[:] = [next(oracles)]
            current[0].begin(sigmas)
            return executor(noise, latent, sampler, sigmas, *args, **kwargs)

        def answer(*args, **kwargs):
            return current[0]._apply_model(*args, **kwargs)

        clone.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "oracle", begin)
        clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "oracle", answer)
        return (clone,)
