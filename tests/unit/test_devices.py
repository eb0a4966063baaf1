"""All tensors are made on the device of those that are given: checked with fake tensors on a GPU that is not there."""

from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from cat_core.algorithm.branch import Branch
from cat_core.algorithm.corrector import Corrector
from cat_core.algorithm.noise import NoiseCache
from cat_core.algorithm.selection import Selector
from cat_core.caching.kv import KVCache
from cat_core.host.plan import Choice
from cat_core.host.proof import Proof
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


def test_what_is_remembered_and_chosen_follows_to_another_device():
    """Where several devices share a run; fake tensors of two of them do not mix."""
    settings = CATSettings(keep_ratio=0.3, correction=0.5, propagation=0.5)
    branch, selector = Branch(settings), Selector(replace(settings, focus_mask=torch.eye(8).unsqueeze(0)), (8, 8))
    with FakeTensorMode(allow_non_fake_inputs=True):
        first, second = (torch.randn(2, 64, 16, device=f"cuda:{number}") for number in range(2))
        for sigma in (1.0, 0.9):
            branch.answer_full(first, first, sigma, sigma - 0.1)
        selection = branch.select(selector, 0.8)
        choice = Choice(selection, selector.propagation(selection))
        assert choice.on(first.device) is choice
        there = choice.on(second.device)
        branch.move(second.device)
        given = branch.answer_pruned(second, second, 0.8, 0.7, there.selection, there.propagation)
        given = given + branch.answer_idle(second, 0.7, 0.6)
        assert given.device == branch.select(selector, 0.6).indices.device == second.device


def test_proofs_of_several_devices_are_one():
    proof = Proof()
    with FakeTensorMode():
        for number in range(2):
            tokens = torch.randn(1, 4, 8, device=f"cuda:{number}")
            proof.add((number,), tokens, tokens)
        assert [device.index for device in proof.errors] == [0, 1]
        with pytest.raises(DataDependentOutputException):  # its number is asked for, and the devices did not matter
            proof.reason_against(0.1)
