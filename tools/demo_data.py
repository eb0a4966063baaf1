"""Pictures and captions that the demo model is trained on: 3D emoji, one or two on a background of a named colour.

Source: npm ``@lobehub/fluent-emoji-3d`` 1.1.0 (MIT), 256x256 RGBA pictures named by code point.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

PACKAGE = "@lobehub/fluent-emoji-3d@1.1.0"
PACKAGE_SHA512 = "Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ2Qaecgl5wRBv60lUAG3h7g=="
SIZE = 256
SINGLE_SIZE, PAIR_SIZE = 196, 116
SHIFT = 8  # objects lie up to this many pixels off their place

# Objects, animals, foods and plants only: no flags, people, skin tones or lettering.
CODE_POINTS = """
1f32d 1f32e 1f330 1f332 1f333 1f334 1f335 1f336 1f337 1f338 1f339 1f33b 1f33c 1f33d 1f340 1f341 1f344 1f345 1f346 1f347
1f349 1f34a 1f34b 1f34c 1f34d 1f34e 1f34f 1f350 1f351 1f352 1f353 1f354 1f355 1f356 1f357 1f359 1f35e 1f35f 1f363 1f366
1f368 1f369 1f36a 1f36b 1f36c 1f36d 1f377 1f378 1f37a 1f37f 1f380 1f381 1f382 1f383 1f384 1f388 1f393 1f3a4 1f3a7 1f3a9
1f3b8 1f3ba 1f3c0 1f3c6 1f3c8 1f3e0 1f3fa 1f401 1f404 1f405 1f407 1f408 1f409 1f40b 1f40c 1f40e 1f411 1f414 1f415 1f416
1f418 1f419 1f41a 1f41d 1f41e 1f41f 1f420 1f422 1f424 1f426 1f427 1f428 1f42c 1f433 1f438 1f43b 1f43c 1f451 1f454 1f455
1f456 1f457 1f45c 1f460 1f47b 1f47d 1f480 1f484 1f48a 1f48d 1f48e 1f499 1f49a 1f49b 1f49c 1f4a1 1f4a3 1f4a7 1f4b0 1f4bc
1f4f7 1f4fa 1f50b 1f50d 1f511 1f512 1f514 1f525 1f527 1f528 1f52e 1f56f 1f576 1f680 1f68c 1f695 1f697 1f6cb 1f6f8 1f944
1f94a 1f950 1f951 1f954 1f955 1f95a 1f95d 1f95e 1f964 1f966 1f967 1f968 1f96d 1f980 1f981 1f986 1f988 1f989 1f98a 1f98b
1f993 1f996 1f9a2 1f9a9 1f9b4 1f9c0 1f9c1 1f9c5 1f9c7 1f9ca 1f9cb 1f9e2 1f9ed 1f9f2 1f9f8 1f9f9 1fa80 1fa81 1fa84 1fa90
1fa91 1fa93 1faa3 1fab4 1fab6 1fad0 1fad1 1fad2 1fad6 1f6de 231a 23f0 2602 260e 2615 2693 2699 26bd 26be 26c4 26f5 2708
270f 2744 2b50 2764 2618 2601
""".split()

# The code charts' older wording, where today's is clearer.
PLAIN_NAMES = {
    "1f346": "eggplant",
    "1f33d": "corn",
    "1f34a": "orange fruit",
    "1f355": "pizza",
    "1f415": "dog",
    "1f4a1": "light bulb",
    "1f50d": "magnifying glass",
    "1f576": "sunglasses",
    "1f981": "lion",
    "1f996": "dinosaur",
    "1f98a": "fox",
    "1f993": "zebra",
    "1f697": "car",
    "1f6cb": "couch",
    "1f438": "frog",
    "1f43b": "bear",
    "1f43c": "panda",
    "2615": "coffee",
    "260e": "telephone",
    "2b50": "star",
    "2764": "red heart",
    "26c4": "small snowman",
    "1f6de": "wheel",
    "1f3c0": "basketball",
}

COLOURS = {
    "white": (245, 245, 245),
    "gray": (150, 150, 150),
    "black": (25, 25, 28),
    "red": (205, 50, 50),
    "orange": (240, 145, 45),
    "yellow": (245, 215, 75),
    "green": (60, 150, 75),
    "teal": (45, 160, 160),
    "blue": (55, 95, 205),
    "purple": (125, 70, 175),
    "pink": (240, 160, 190),
    "brown": (125, 85, 55),
}


def fetch_pictures(folder: Path) -> None:
    """Fetch the emoji with npm into ``folder``, unless they are there.

    Raises:
        RuntimeError: npm is missing, or what came is not the package that is meant.
    """
    if folder.is_dir():
        return
    if not (npm := shutil.which("npm")):
        raise RuntimeError(f"Training needs npm to fetch the pictures of {PACKAGE}; install Node.js and try again.")
    with tempfile.TemporaryDirectory() as temporary:
        subprocess.run([npm, "pack", PACKAGE, "--silent"], cwd=temporary, check=True)
        archive = next(Path(temporary).glob("*.tgz"))
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if digest != PACKAGE_SHA512:
            raise RuntimeError(f"{archive.name} has sha512 {digest}, expected {PACKAGE_SHA512}.")
        with tarfile.open(archive) as files:
            files.extractall(temporary, filter="data")
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(Path(temporary, "package", "assets"), folder)


def name_of(code: str) -> str:
    """``"1f34e"`` -> ``"red apple"``."""
    return PLAIN_NAMES.get(code) or unicodedata.name(chr(int(code, 16))).lower()


def vocabulary() -> list[str]:
    """All words of all captions; number 0 is the padding."""
    words = {word for code in CODE_POINTS for word in name_of(code).split()}
    return ["", *sorted(words | set(COLOURS) | {"and", "on", "gradient"})]


@dataclass(frozen=True)
class Scene:
    """What one picture shows: one or two objects (numbers into ``CODE_POINTS``) on a background."""

    objects: tuple[int, ...]
    colour: str
    gradient: bool

    @property
    def caption(self) -> str:
        names = " and ".join(name_of(CODE_POINTS[i]) for i in self.objects)
        return f"{names} on {self.colour}{' gradient' if self.gradient else ''}"


def random_scene(rng: np.random.Generator) -> Scene:
    """Two in five scenes show a pair, two in five backgrounds are graded."""
    count = 2 if rng.random() < 0.4 else 1
    objects = tuple(int(i) for i in rng.choice(len(CODE_POINTS), count, replace=False))
    return Scene(objects, str(rng.choice(list(COLOURS))), bool(rng.random() < 0.4))


class EmojiScenes:
    """Draws random scenes from a folder of emoji; every random choice comes from the generator that is passed in."""

    def __init__(self, folder: Path):
        self.sprites = [self._sprites(folder, code) for code in CODE_POINTS]

    @staticmethod
    def _sprites(folder: Path, code: str) -> dict[int, np.ndarray]:
        file = next(f for f in (folder / f"{code}.webp", folder / f"{code}-fe0f.webp") if f.exists())
        with Image.open(file) as picture:
            rgba = picture.convert("RGBA")
            sizes = (SINGLE_SIZE, PAIR_SIZE)
            return {size: np.asarray(rgba.resize((size, size), Image.Resampling.LANCZOS)) for size in sizes}

    def draw(self, scene: Scene, rng: np.random.Generator) -> np.ndarray:
        """Return the scene as float32 [256, 256, 3] in 0..255, every object a little off its place."""
        picture = _background(scene, rng)
        count = len(scene.objects)
        size = SINGLE_SIZE if count == 1 else PAIR_SIZE
        for place, number in enumerate(scene.objects):
            left, top = rng.integers(-SHIFT, SHIFT + 1, 2) - size // 2 + SIZE // 2
            left = int(left) + (2 * place - count + 1) * SIZE // 4
            left, top = int(np.clip(left, 0, SIZE - size)), int(top)
            sprite = self.sprites[number][size]
            alpha = sprite[..., 3:].astype(np.float32) / 255
            region = picture[top : top + size, left : left + size]
            region *= 1 - alpha
            region += sprite[..., :3] * alpha
        return picture


def _background(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    colour = np.array(COLOURS[scene.colour], np.float32)
    picture = np.broadcast_to(colour, (SIZE, SIZE, 3)).copy()
    if scene.gradient:
        angle = rng.random() * 2 * np.pi
        line = np.linspace(-1, 1, SIZE, dtype=np.float32)
        y, x = np.meshgrid(line, line, indexing="ij")
        slope = (np.cos(angle) * x + np.sin(angle) * y)[..., None] / 1.5
        picture += np.where(slope > 0, (255 - colour) * 0.45, colour * 0.45) * slope
    return picture.clip(0, 255)
