"""In place of PyAV, which is larger than a bundle has room for: ComfyUI uses it for files of videos and sound alone."""

import sys
from types import ModuleType


class StandIn(ModuleType):
    """A module whose every public name is a class without anything in it."""

    def __init__(self, name: str):
        super().__init__(name)
        self.__path__ = []  # a package

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


for module in ("av", "av.container", "av.subtitles", "av.subtitles.stream", "av.video", "av.video.reformatter"):
    sys.modules[module] = StandIn(module)
