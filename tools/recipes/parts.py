"""What a recipe of a workflow is made of: nodes, without links and places."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

HUB = "https://huggingface.co/"
SEED = 5
HALF = "{} steps: about half is computed."
IDLE = "{} steps: half to two thirds are computed."

# what several models share
QWEN = "Comfy-Org/Qwen-Image_ComfyUI:split_files/"
HUNYUAN = "Comfy-Org/HunyuanVideo_1.5_repackaged:split_files/"
QWEN_VL = "text_encoders/qwen_2.5_vl_7b_fp8_scaled.safetensors"
QWEN3_VL = "Comfy-Org/Qwen3-VL:text_encoders/qwen3vl_8b_fp8_scaled.safetensors"
KLEIN = "Comfy-Org/flux2-klein:split_files/"
FLUX2_VAE = "Comfy-Org/flux2-dev:split_files/vae/flux2-vae.safetensors"
Z_IMAGE = "Comfy-Org/z_image_turbo:split_files/"


class File(NamedTuple):
    """A model's file; ``address`` is ``owner/repository:path``."""

    directory: str
    address: str

    @property
    def name(self) -> str:
        return self.address.replace(":", "/").rsplit("/", 1)[-1]

    @property
    def url(self) -> str:
        return HUB + self.address.replace(":", "/resolve/main/")


@dataclass(frozen=True)
class Node:
    """A node of the host.

    Attributes:
        kind: its id in the host.
        values: its widgets by name; others have the host's defaults.
        takes: what its sockets take, where that is neither the newest output of their name nor of their type.
        gives: names of its outputs, where their types are not enough to find them.
        files: the models that it loads.
        title: shown instead of the host's name.
    """

    kind: str
    values: dict[str, Any] = field(default_factory=dict)
    takes: dict[str, str] = field(default_factory=dict)
    gives: tuple[str, ...] = ()
    files: tuple[File, ...] = ()
    title: str | None = None


class Run(NamedTuple):
    """One sampling run: ``patches`` before CAT Pruning, and what samples after it."""

    patches: tuple[Node, ...] = ()
    sampling: tuple[Node, ...] = ()


PICTURE = (Node("VAEDecode"), Node("SaveImage", {"filename_prefix": "cat"}, title="With CAT Pruning"))


@dataclass(frozen=True)
class Recipe:
    """A workflow.

    Attributes:
        name: its file's, behind ``cat_pruning_``.
        title: the model, as people know it.
        template: the host's own template, which has these settings.
        expect: what it saves, for the note.
        load, prompt: loaders; conditionings and latents.
        runs: usually one.
        save: what is done with the last latent.
        since: a node, or a node and one of its choices, that hosts without this model do not have.
    """

    name: str
    title: str
    template: str
    expect: str
    load: tuple[Node, ...]
    prompt: tuple[Node, ...]
    runs: tuple[Run, ...]
    save: tuple[Node, ...] = PICTURE
    since: str = ""

    def known_to(self, info: dict[str, Any]) -> bool:
        """Whether a host, by its ``/object_info``, has what this recipe says it needs."""
        kind, _, choice = self.since.partition(" ")
        return not kind or (kind in info and (not choice or f"'{choice}'" in str(info[kind]["input"])))


def unet(address: str, *gives: str) -> Node:
    file = File("diffusion_models", address)
    return Node("UNETLoader", {"unet_name": file.name}, gives=gives, files=(file,))


def clip(kind: str, *addresses: str) -> Node:
    """The loader of one text encoder, or of two."""
    files = tuple(File("text_encoders", address) for address in addresses)
    if len(files) == 1:
        return Node("CLIPLoader", {"clip_name": files[0].name, "type": kind}, files=files)
    names = {f"clip_name{number}": file.name for number, file in enumerate(files, 1)}
    return Node("DualCLIPLoader", {**names, "type": kind}, files=files)


def vae(address: str) -> Node:
    file = File("vae", address)
    return Node("VAELoader", {"vae_name": file.name}, files=(file,))


def checkpoint(address: str) -> Node:
    file = File("checkpoints", address)
    return Node("CheckpointLoaderSimple", {"ckpt_name": file.name}, files=(file,))


def prompts(positive: str, negative: str = "") -> tuple[Node, Node]:
    return (
        Node("CLIPTextEncode", {"text": positive}, gives=("positive",), title="Positive prompt"),
        Node("CLIPTextEncode", {"text": negative}, gives=("negative",), title="Negative prompt"),
    )


def on_both(kind: str, **values: Any) -> tuple[Node, Node]:
    """A node for each of the two conditionings."""
    one, other = (Node(kind, values, {"conditioning": role}, (role,)) for role in ("positive", "negative"))
    return one, other


def size(kind: str, width: int, height: int, *gives: str, **more: Any) -> Node:
    """An empty latent, or another node that is told the size."""
    return Node(kind, {"width": width, "height": height, **more}, gives=gives)


def given_picture(scale: Node) -> tuple[Node, Node]:
    """The picture to edit, brought to the size that the model takes."""
    return Node("LoadImage", {"image": "example.png"}, title="Picture to edit"), scale


def size_of_picture(kind: str) -> tuple[Node, Node]:
    """An empty latent of the given picture's size."""
    return Node("GetImageSize"), Node(kind, takes={"width": "width", "height": "height"})


def shift(value: float, kind: str = "AuraFlow") -> Node:
    return Node(f"ModelSampling{kind}", {"shift": value})


def ksampler(steps: int, cfg: float, sampler: str = "euler", scheduler: str = "simple") -> tuple[Node]:
    values = {"seed": SEED, "steps": steps, "cfg": cfg, "sampler_name": sampler, "scheduler": scheduler}
    return (Node("KSampler", values),)


def custom(guider: str, cfg: float, sampler: str, scheduler: Node) -> tuple[Node, ...]:
    """Sampling in parts, for guiders and schedulers of a model's own."""
    return (
        Node("RandomNoise", {"noise_seed": SEED}),
        Node(guider, {"cfg": cfg}),
        Node("KSamplerSelect", {"sampler_name": sampler}),
        scheduler,
        Node("SamplerCustomAdvanced"),
    )


def video(fps: float, *before: Node, **takes: str) -> tuple[Node, ...]:
    """Frames as a video; ``before`` are nodes that need the latent too."""
    save = Node("SaveVideo", {"filename_prefix": "video/cat"}, title="With CAT Pruning")
    return (*before, Node("VAEDecode"), Node("CreateVideo", {"fps": fps}, takes), save)
