"""Every sampler of the host is of the kind that it is listed as; what is not listed is taken for the worst."""

from collections import Counter

import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP

from cat_core.host.samplers import MULTISTEP, NOISY, ONE_STEP, SOLVERS, UNKNOWN, find_solver, name_sampler
from small import conditioning, noise_for, small_model

NAMES = comfy.samplers.SAMPLER_NAMES


def solver_of(name):
    return find_solver(comfy.samplers.sampler_object(name))


@pytest.mark.host
def test_every_sampler_of_the_host_is_listed_or_known_not_to_be():
    assert [name for name in NAMES if solver_of(name) is UNKNOWN] == []


@pytest.mark.host
@pytest.mark.parametrize("name", NAMES)
def test_a_sampler_evaluates_a_noise_level_as_often_as_is_said(name):
    times = Counter()

    def count(executor, x, timestep, *args, **kwargs):
        times[f"{float(timestep.flatten()[0]):.6g}"] += 1
        return executor(x, timestep, *args, **kwargs)

    model, noise = small_model(), noise_for(1, 8, 8)
    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "count", count)
    arguments = (model, noise, 8, 4.0, name, "simple", conditioning(1), conditioning(2), torch.zeros_like(noise))
    with torch.inference_mode():
        comfy.sample.sample(*arguments, disable_pbar=True, seed=1)
    solver = solver_of(name)
    assert solver.against or max(times.values()) == solver.evaluations


def with_options(name, **options):
    return find_solver(comfy.samplers.ksampler(name, options))


def test_options_tell_whether_noise_is_added():
    assert with_options("euler_ancestral") is SOLVERS["euler_ancestral"]
    assert with_options("euler_ancestral", eta=0.0) is ONE_STEP
    assert with_options("dpmpp_2m_sde", eta=0.0) is MULTISTEP
    assert with_options("euler", s_churn=0.5) == NOISY
    assert with_options("heun", s_churn=0.5).evaluations == 2


def test_a_sampler_that_is_not_the_hosts_is_not_known():
    def sample_euler(*args, **kwargs):
        raise NotImplementedError

    assert find_solver(comfy.samplers.KSAMPLER(sample_euler)) is UNKNOWN
    assert find_solver(object()) is UNKNOWN


def test_a_sampler_of_the_next_release_is_not_known(monkeypatch):
    def sample_tomorrow(*args, **kwargs):
        raise NotImplementedError

    sample_tomorrow.__module__ = comfy.samplers.k_diffusion_sampling.__name__
    assert find_solver(comfy.samplers.KSAMPLER(sample_tomorrow)) is UNKNOWN


def test_where_noise_is_added_between_levels_no_single_tokens_are_computed():
    without = {name for name in NAMES if not solver_of(name).tokens}
    assert without == {"dpmpp_sde", "dpmpp_sde_gpu"}


@pytest.mark.host
@pytest.mark.parametrize("name", NAMES)
def test_a_sampler_has_its_name_in_the_host(name):
    # which the host makes of the other
    assert name_sampler(comfy.samplers.sampler_object(name)) == {"ddim": "euler"}.get(name, name)


def test_options_that_are_not_its_own_belong_to_a_samplers_name():
    def named(name, **options):
        return name_sampler(comfy.samplers.ksampler(name, options))

    assert named("euler_ancestral", eta=1.0, s_noise=1.0) == "euler_ancestral"
    assert named("euler_ancestral", s_noise=0.9, eta=0.5) == "euler_ancestral(eta=0.5, s_noise=0.9)"
    assert named("dpmpp_2m_sde", solver_type="heun") == "dpmpp_2m_sde(solver_type=heun)"
    assert named("sa_solver", tau_func=lambda sigma: sigma) == "sa_solver"


def test_a_sampler_that_is_not_the_hosts_is_never_named_as_one():
    def sample_euler(*args, **kwargs):
        raise NotImplementedError

    assert name_sampler(comfy.samplers.KSAMPLER(sample_euler)) == "sample_euler of another node"
    assert name_sampler(object()) == "object of another node"
