"""Transformers whose weights torch shares out between processes (FSDP): the same architecture by another name."""

import pytest
import torch
import torch.distributed
from torch.distributed.fsdp import FSDPModule, fully_shard

from cat_core.host.architecture import find_family
from cat_core.host.patcher import attach, last_report
from cat_core.settings import PRESETS
from small import noise_for, sample, small_model


@pytest.fixture
def mesh(tmp_path):
    """Of one process, this one."""
    torch.distributed.init_process_group("gloo", init_method=(tmp_path / "store").as_uri(), rank=0, world_size=1)
    yield torch.distributed.init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def shared(model, mesh):
    """As Raylight does it: block by block, then the whole."""
    transformer = model.model.diffusion_model.requires_grad_(False)
    for block in transformer.joint_blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(transformer, mesh=mesh)
    return model


def test_a_model_with_shared_weights_is_of_its_family_and_has_the_same_idle_steps(mesh):
    whole, noise = small_model(), noise_for(1, 16, 16)
    wanted, model = attach(whole, PRESETS["quality"]), attach(shared(small_model(), mesh), PRESETS["quality"])
    assert type(model.model.diffusion_model).__name__ == "FSDPOpenAISignatureMMDITWrapper"
    latents = [sample(one, noise, steps=20) for one in (wanted, model)]
    assert torch.equal(*latents)
    assert last_report(model).count("idle") >= 5
    assert last_report(model).family == last_report(wanted).family
    assert last_report(model).macs() == last_report(wanted).macs()


TRANSFORMER = type(small_model().model.diffusion_model)


class Shared(FSDPModule):
    """Not torch's own, by the name that torch gives."""


@pytest.mark.parametrize(
    ("name", "bases"),
    [
        ("FSDPMine", (FSDPModule, TRANSFORMER)),
        (f"FSDP{TRANSFORMER.__name__}", (TRANSFORMER,)),
        (f"FSDP{TRANSFORMER.__name__}", (Shared, TRANSFORMER)),
        (f"FSDP{TRANSFORMER.__name__}", (FSDPModule, type(TRANSFORMER.__name__, (TRANSFORMER,), {}))),
    ],
    ids=["another name", "not shared", "shared in another way", "a subclass shared"],
)
def test_any_other_subclass_stays_unknown(name, bases):
    model = small_model().model.diffusion_model
    model.__class__ = type(name, bases, {})
    assert find_family(model) is None
