"""The demo model: a 14 M parameter SD3-type transformer with its own words and its own small autoencoder.

It is trained by ``tools/train_demo.py`` and shipped as one safetensors file. Beside it lie what makes its pictures
cleaner, by ``tools/train_decoder.py``, and a LoRA that makes it a distilled model, by ``tools/distill_demo.py``. So the
pack can be tried, tested and measured without downloading anything. The transformer is the host's own SD3 class
(``comfy/model_base.py``); only the text encoder and the autoencoder, both a few lines, are defined here.
"""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any, ClassVar

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.supported_models
import torch
from comfy.ldm.modules.diffusionmodules.mmdit import OpenAISignatureMMDITWrapper
from einops import rearrange
from safetensors import SafetensorError, safe_open
from torch.nn.functional import silu

DEMO_FILE = Path(__file__).parents[2] / "demo" / "cat_demo_sd3.safetensors"
REFINEMENT_FILE = DEMO_FILE.with_name("cat_demo_sd3_refinement.safetensors")
DISTILLED_FILE = DEMO_FILE.with_name("cat_demo_sd3_8_steps_lora.safetensors")

MAX_WORDS = 16
WIDTH = 256
LATENT_CHANNELS = 16
PIXELS_PER_LATENT = 4
PATCH_VALUES = 3 * PIXELS_PER_LATENT**2
REFINEMENT_WIDTH, REFINEMENT_BLOCKS = 96, 5

# Arguments of the host's MMDiT: width 64 * depth, 6 blocks, position embedding computed for any resolution.
TRANSFORMER = {
    "in_channels": LATENT_CHANNELS,
    "patch_size": 2,
    "depth": WIDTH // 64,
    "num_blocks": 6,
    "input_size": None,
    "adm_in_channels": WIDTH,
    "context_embedder_config": {
        "target": "torch.nn.Linear",
        "params": {"in_features": WIDTH, "out_features": WIDTH},
    },
    "qk_norm": "rms",
    "pos_embed_max_size": 64,
}

Convolution = comfy.ops.disable_weight_init.Conv2d

log = logging.getLogger(__name__)


class DemoTokenizer:
    """Maps a prompt to at most ``MAX_WORDS`` word numbers, padded with 0; words outside the vocabulary are left out."""

    def __init__(self, vocabulary: list[str]):
        self.number = {word: i for i, word in enumerate(vocabulary)}

    def encode(self, text: str) -> list[int]:
        """Return exactly ``MAX_WORDS`` numbers for ``text`` and log the words that the demo model does not know."""
        words = re.findall(r"[a-z0-9\-]+", text.lower())
        unknown = sorted({word for word in words if word not in self.number})
        if unknown:
            log.warning("CAT demo model: words it never saw are left out: %s", ", ".join(unknown))
        numbers = [self.number[word] for word in words if word in self.number]
        if len(numbers) > MAX_WORDS:
            log.warning("CAT demo model: only the first %d known words of the prompt are used", MAX_WORDS)
        return (numbers + [0] * MAX_WORDS)[:MAX_WORDS]

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **_: Any) -> dict[str, list]:
        """Host interface (``comfy/sd.py: CLIP.tokenize``): one list of (number, weight) pairs."""
        return {"words": [[(number, 1.0) for number in self.encode(text)]]}

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {}


class DemoTextEncoder(torch.nn.Module):
    """Word vectors plus position vectors; the pooled vector is the mean of the word vectors."""

    def __init__(self, words: int, dtype: torch.dtype | None = None, device: Any = None):
        super().__init__()
        self.word = torch.nn.Embedding(words, WIDTH, dtype=dtype, device=device)
        self.position = torch.nn.Parameter(torch.zeros(MAX_WORDS, WIDTH, dtype=dtype, device=device))
        self.dtypes = {self.word.weight.dtype}

    def forward(self, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``numbers`` [B, MAX_WORDS] -> context [B, MAX_WORDS, WIDTH] and pooled [B, WIDTH]."""
        vectors = self.word(numbers)
        known = (numbers > 0).to(vectors.dtype).unsqueeze(-1)
        pooled = (vectors * known).sum(1) / known.sum(1).clamp(min=1)
        return vectors + self.position, pooled

    def encode_token_weights(self, tokens: dict[str, list]) -> tuple[torch.Tensor, torch.Tensor]:
        """Host interface (``comfy/sd.py: CLIP.encode_from_tokens``)."""
        numbers = [[number for number, _ in row] for row in tokens["words"]]
        with torch.no_grad():
            context, pooled = self(torch.tensor(numbers, device=self.word.weight.device))
        return context.float(), pooled.float()

    def set_clip_options(self, options: dict) -> None:
        """Layer skipping has no meaning for word vectors."""

    def reset_clip_options(self) -> None:
        """Nothing to reset, see ``set_clip_options``."""


class Residual(torch.nn.Module):
    """Two convolutions, whose result is added to what comes in."""

    def __init__(self, width: int):
        super().__init__()
        self.first = Convolution(width, width, 3, padding=1)
        self.second = Convolution(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` [B, width, H, W] -> the same shape."""
        return x + self.second(silu(self.first(silu(x))))


class Refinement(torch.nn.Sequential):
    """What a latent's neighbours tell of its 4x4 RGB patch: model-scaled latents [B, 16, h, w] -> [B, 48, h, w]."""

    def __init__(self):
        super().__init__(
            Convolution(LATENT_CHANNELS, REFINEMENT_WIDTH, 3, padding=1),
            *(Residual(REFINEMENT_WIDTH) for _ in range(REFINEMENT_BLOCKS)),
            torch.nn.SiLU(),
            Convolution(REFINEMENT_WIDTH, PATCH_VALUES, 3, padding=1),
        )


class DemoAutoencoder(torch.nn.Module):
    """Each 4x4 RGB patch and its 16 principal components.

    Args:
        refinement: is added to decoded patches; without one, encoding and decoding are linear.
    """

    def __init__(self, refinement: Refinement | None = None):
        super().__init__()
        self.mean = torch.nn.Parameter(torch.zeros(PATCH_VALUES))
        self.to_latent = torch.nn.Parameter(torch.zeros(PATCH_VALUES, LATENT_CHANNELS))
        self.to_pixels = torch.nn.Parameter(torch.zeros(LATENT_CHANNELS, PATCH_VALUES))
        self.refinement = refinement
        self.format = comfy.latent_formats.SD3()

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """``pixels`` [B, 3, H, W] in -1..1 -> SD3-scaled latents [B, 16, H/4, W/4]."""
        p = PIXELS_PER_LATENT
        patches = rearrange(pixels, "b c (h p) (w q) -> b h w (c p q)", p=p, q=p)
        latent = rearrange((patches - self.mean) @ self.to_latent, "b h w c -> b c h w")
        return self.format.process_out(latent)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """SD3-scaled latents [B, 16, h, w] -> pixels [B, 3, 4 h, 4 w], about -1..1."""
        p = PIXELS_PER_LATENT
        latent = self.format.process_in(latent)
        patches = rearrange(latent, "b c h w -> b h w c") @ self.to_pixels + self.mean
        if self.refinement is not None:
            patches = patches + rearrange(self.refinement(latent), "b v h w -> b h w v")
        return rearrange(patches, "b h w (c p q) -> b c (h p) (w q)", p=p, q=p)


def read_demo_file(path: Path = DEMO_FILE) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Return the tensors and the vocabulary of a demo model file (safetensors only).

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is damaged, or of another model; the message names what is wrong.
    """
    tensors, metadata = _read(path)
    vocabulary = _entry(metadata, "vocabulary")
    if complaint := _complaint(tensors, vocabulary, _entry(metadata, "architecture")):
        raise ValueError(f"{path.name} is not the CAT demo model: {complaint}.")
    return tensors, vocabulary


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a file, whatever is in it."""
    if not path.is_file():
        raise FileNotFoundError(f"The demo model {path.name} is missing from {path.parent}; reinstall CAT Pruning.")
    try:
        with safe_open(path, framework="pt") as file:
            # the file is no mapping
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path.name} is damaged or no safetensors file ({error}); reinstall CAT Pruning.") from error


def _entry(metadata: dict[str, str], name: str) -> Any:
    try:
        return json.loads(metadata.get(name, "null"))
    except json.JSONDecodeError:
        return None


def _complaint(tensors: dict[str, torch.Tensor], vocabulary: Any, architecture: Any) -> str | None:
    """What tells a file from a demo model's, or None."""
    if not isinstance(vocabulary, list) or not vocabulary or not all(isinstance(word, str) for word in vocabulary):
        return "its metadata has no proper vocabulary"
    if architecture != TRANSFORMER:
        return "its metadata has no architecture, or another one"
    expected = _shapes(len(vocabulary))
    for name in sorted(expected.keys() | tensors.keys()):
        found = tensors[name].shape if name in tensors else None
        if found != expected.get(name):
            told = [list(shape) if shape else "none" for shape in (found, expected.get(name))]
            return f"tensor {name} has shape {told[0]}, expected {told[1]}"
    return None


def _shapes(words: int) -> dict[str, torch.Size]:
    """Shapes of all tensors of a demo model file."""
    operations = comfy.ops.disable_weight_init
    parts = {
        "model": OpenAISignatureMMDITWrapper(**TRANSFORMER, device="meta", operations=operations),
        "text": DemoTextEncoder(words, device="meta"),
        "vae": DemoAutoencoder(),
    }
    return {f"{part}.{name}": t.shape for part, module in parts.items() for name, t in module.state_dict().items()}


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _load_model(weights: dict[str, torch.Tensor], transformer: dict[str, Any]) -> comfy.model_patcher.ModelPatcher:
    """The host's SD3 model with these weights, in the precision that the host picks for the device."""
    management = comfy.model_management
    device, offload = management.get_torch_device(), management.unet_offload_device()
    config = comfy.supported_models.SD3(dict(transformer))
    parameters = sum(tensor.numel() for tensor in weights.values())
    supported = config.supported_inference_dtypes
    dtype = management.unet_dtype(
        device=device, model_params=parameters, supported_dtypes=supported, weight_dtype=torch.bfloat16
    )
    config.set_inference_dtype(dtype, management.unet_manual_cast(dtype, device, supported))
    model = comfy.model_base.SD3(config, device=management.unet_inital_load_device(parameters, dtype))
    model.load_model_weights(weights)
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=offload)


def _load_clip(weights: dict[str, torch.Tensor], vocabulary: list[str]) -> comfy.sd.CLIP:
    class Target:
        params: ClassVar = {"words": len(vocabulary)}

        @staticmethod
        def clip(model_options: dict, **params: Any) -> DemoTextEncoder:
            return DemoTextEncoder(**params)

        @staticmethod
        def tokenizer(**_: Any) -> DemoTokenizer:
            return DemoTokenizer(vocabulary)

    clip = comfy.sd.CLIP(Target, parameters=sum(tensor.numel() for tensor in weights.values()))
    clip.load_sd(weights, full_model=True)
    return clip


def load_refinement() -> Refinement:
    """The decoder's second part, as shipped.

    Raises:
        FileNotFoundError, ValueError: see :func:`read_demo_file`.
    """
    tensors, refinement = _read(REFINEMENT_FILE)[0], Refinement()
    try:
        refinement.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{REFINEMENT_FILE.name} is not the CAT demo model's: {error}") from error
    return refinement


def _load_vae(weights: dict[str, torch.Tensor], refined: bool) -> comfy.sd.VAE:
    """A host VAE with the demo model's autoencoder (the host's pixel-space VAE is the one without a network)."""
    vae = comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)})
    autoencoder = DemoAutoencoder()
    autoencoder.load_state_dict(weights)
    autoencoder.refinement = load_refinement() if refined else None
    vae.first_stage_model = autoencoder.to(vae.vae_dtype).eval()
    vae.downscale_ratio = vae.upscale_ratio = PIXELS_PER_LATENT
    vae.latent_channels = LATENT_CHANNELS
    vae.patcher = comfy.model_patcher.ModelPatcher(
        autoencoder, load_device=vae.device, offload_device=comfy.model_management.vae_offload_device()
    )
    return vae


def load_demo(
    path: Path = DEMO_FILE, distilled: bool = False, refined: bool = True
) -> tuple[comfy.model_patcher.ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """Load MODEL, CLIP and VAE of the demo model.

    Args:
        path: of the demo model's file.
        distilled: with the LoRA for 8 steps without CFG.
        refined: decode as a picture is meant to be seen; else linearly, so that pictures differ as their latents do.

    Raises:
        FileNotFoundError, ValueError: see :func:`read_demo_file`.
    """
    model, clip, vae = assemble(*read_demo_file(path), refined=refined)
    if distilled:
        model = comfy.sd.load_lora_for_models(model, None, _read(DISTILLED_FILE)[0], 1.0, 0.0)[0]
    return model, clip, vae


def assemble(
    tensors: dict[str, torch.Tensor],
    vocabulary: list[str],
    transformer: dict[str, Any] = TRANSFORMER,
    refined: bool = False,
) -> tuple[comfy.model_patcher.ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """MODEL, CLIP and VAE of a demo model's tensors, or of one with another ``transformer`` (the host's arguments)."""
    model, vae = _load_model(_part(tensors, "model."), transformer), _part(tensors, "vae.")
    # what previews are coloured with: each channel's mean over the pixels of a patch
    colours = rearrange(vae["to_pixels"].float(), "l (c p) -> l c p", c=3).mean(-1)
    model.model.latent_format.latent_rgb_factors = colours.tolist()
    model.model.latent_format.latent_rgb_factors_bias = (
        rearrange(vae["mean"].float(), "(c p) -> c p", c=3).mean(-1).tolist()
    )
    return model, _load_clip(_part(tensors, "text."), vocabulary), _load_vae(vae, refined)
