"""Where a run keeps keys and values, and what it does when memory is short."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..caching.kv import KVCache
from ..settings import CATSettings
from .call import ModelCall
from .conditionings import Conditioning, Conditionings
from .journal import Journal
from .memory import FLOAT8, Place, list_places


class Room:
    """The places that are left, of every device its own, the first of which is used.

    Args:
        settings: cache precision and device are used.
        conditionings: whose caches these are.
        give_up: called with the reason when no place is left.
        devices: how many share the run, and what is free outside of them.
    """

    def __init__(
        self,
        settings: CATSettings,
        conditionings: Conditionings,
        journal: Journal,
        give_up: Callable[[str], None],
        devices: int,
    ):
        self.conditionings, self.journal, self.give_up, self.devices = conditionings, journal, give_up, devices
        self.wanted: list[Place] = list_places(settings)
        self.left: dict[torch.device, list[Place]] = {}
        if settings.cache_dtype == "float8_e4m3fn" and self.wanted[0].dtype is not FLOAT8:
            journal.note("this device has no float8, keys and values are kept as they are")

    def places(self, device: torch.device) -> list[Place]:
        """That are left for calls on a device."""
        return self.left.setdefault(device, list(self.wanted))

    def dtype(self, device: torch.device) -> torch.dtype | None:
        """Of what is kept for calls on a device, None for the model's own."""
        return next((place.dtype for place in self.places(device)), None)

    def new_cache(self, device: torch.device) -> KVCache:
        """For a conditioning that is evaluated on a device."""
        return next((KVCache(place.dtype, place.device) for place in self.places(device)), KVCache())

    def follow(self, one: Conditioning, device: torch.device) -> None:
        """A conditioning is about to be computed in full on a device: it leaves keys and values of another behind."""
        if one.device != device:
            one.device, one.kv = device, self.new_cache(device)

    def empty(self, device: torch.device | None = None) -> None:
        """Drop all keys and values, or those of a device."""
        for one in self.conditionings.values():
            if device in (None, one.device):
                one.kv = self.new_cache(one.device)

    def holds(self, device: torch.device) -> bool:
        """Whether keys and values of a device are kept."""
        return any(one.kv.layers for one in self.conditionings.values() if one.device == device)

    def find(self, values: int, call: ModelCall) -> bool:
        """Move to the first place that holds so many numbers of a call; False if there is none."""
        while places := self.places(call.device):
            # several devices may be about to fill what is free outside of them
            sharing = 1 if places[0].device is None else self.devices
            problem = places[0].reason_too_small(values * sharing, call.model, call.x.shape, call.device)
            if problem is None:
                return True
            self.move(problem, call.device)
        return False

    def move(self, problem: str, device: torch.device) -> None:
        """Drop a device's keys and values; its next full step keeps them at the next place, if there is one."""
        places = self.places(device)
        del places[:1]
        self.empty(device)
        if places:
            self.journal.note(f"{problem}; they are kept {places[0]}")
        else:
            self.give_up(problem)

    def abandon(self, problem: str, device: torch.device) -> None:
        """Drop a device's keys and values, and keep none any more."""
        self.places(device).clear()
        self.move(problem, device)

    def bytes_beside_the_model(self, values: int, model: Any) -> int:
        """Memory that so many numbers will take where ``model`` runs, the host's ``BaseModel``."""
        return 0 if self.wanted[0].device else self.wanted[0].bytes(values, model)
