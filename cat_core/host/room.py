"""Where a run keeps keys and values, and what it does when memory is short."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..caching.kv import KVCache
from ..settings import CATSettings
from .call import ModelCall
from .conditionings import Conditionings
from .journal import Journal
from .memory import FLOAT8, Place, list_places


class Room:
    """The places that are left, the first of which is used.

    Args:
        settings: cache precision and device are used.
        conditionings: whose caches these are.
        give_up: called with the reason when no place is left.
    """

    def __init__(
        self, settings: CATSettings, conditionings: Conditionings, journal: Journal, give_up: Callable[[str], None]
    ):
        self.conditionings, self.journal, self.give_up = conditionings, journal, give_up
        self.places: list[Place] = list_places(settings)
        if settings.cache_dtype == "float8_e4m3fn" and self.places[0].dtype is not FLOAT8:
            journal.note("this device has no float8, keys and values are kept as they are")

    @property
    def dtype(self) -> torch.dtype | None:
        """Of what is kept, None for the model's own."""
        return self.places[0].dtype if self.places else None

    def new_cache(self) -> KVCache:
        """For one conditioning."""
        return KVCache(self.places[0].dtype, self.places[0].device) if self.places else KVCache()

    def empty(self) -> None:
        """Drop all keys and values."""
        for one in self.conditionings.values():
            one.kv = self.new_cache()

    def find(self, values: int, call: ModelCall) -> bool:
        """Move to the first place that holds so many numbers of a call; False if there is none."""
        while self.places:
            problem = self.places[0].reason_too_small(values, call.model, call.x)
            if problem is None:
                return True
            self.move(problem)
        return False

    def move(self, problem: str) -> None:
        """Drop all keys and values; the next full step keeps them at the next place, if there is one."""
        del self.places[:1]
        self.empty()
        if self.places:
            self.journal.note(f"{problem}; they are kept {self.places[0]}")
        else:
            self.give_up(problem)

    def abandon(self, problem: str) -> None:
        """Drop all keys and values, and keep none any more."""
        self.places.clear()
        self.move(problem)

    def bytes_beside_the_model(self, values: int, model: Any) -> int:
        """Memory that so many numbers will take where ``model`` runs, the host's ``BaseModel``."""
        return 0 if self.places[0].device else self.places[0].bytes(values, model)
