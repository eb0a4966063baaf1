"""Attention that the host gives no options, so that nobody can override it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any

import torch
from comfy.ldm.modules.attention import optimized_attention


def compute_as_class(module: torch.nn.Module, attention: Callable, *args: Any, **kwargs: Any) -> Any:
    """What a module's class computes, with ``attention`` where it calls the host's: for ``Layout.computes``.

    It is the class's own code that runs, as another function in whose globals one name has another meaning.
    """
    method: Any = type(module).forward
    names = {**method.__globals__, "optimized_attention": partial(attention, optimized_attention)}
    function = FunctionType(method.__code__, names, method.__name__, method.__defaults__, method.__closure__)
    return function(module, *args, **kwargs)
