"""All tensors are made on the device of those that are given: checked with fake tensors on a GPU that is not there."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from cat_core.algorithm.corrector import Corrector
from cat_core.algorithm.noise import NoiseCache
from cat_core.algorithm.selection import Selector
from cat_core.caching.kv import KVCache
from cat_core.settings import CATSettings


def test_selection_and_caches_stay_on_the_device():
    with FakeTensorMode():
        noise = torch.randn(2, 64, 16, device="cuda")
        held = NoiseCache(noise, 1.0)
        held.update(noise, 0.9)
        selector = Selector(CATSettings(keep_ratio=0.3), (8, 8))
        for _ in range(2):
            selection = selector.select(held.at(0.8, 0.9), held.latest)
        assert selection.indices.device.type == "cuda"
        assert selection.indices.shape == (2, 19)
        held.update(noise, 0.8, selection.mask())
        corrector = Corrector(noise, 1.0, 1.0)
        for computed in (noise.new_zeros(1, dtype=torch.bool), selection.mask()):
            assert corrector.settle(noise, 0.8, 0.1, computed).device.type == "cuda"
        rows = torch.randn(2, 70, 32, device="cuda", dtype=torch.bfloat16)
        cache = KVCache()
        cache.store(0, rows, rows)
        keys, values = cache.renew(0, rows[:, :25], rows[:, :25], selection, 6, selector.propagation(selection))
        assert {keys.device.type, values.device.type, held.at(0.7, 0.9).device.type} == {"cuda"}
        assert keys.dtype == torch.bfloat16
        full = selection.scatter(selection.gather(noise))
        assert full.device.type == "cuda"
