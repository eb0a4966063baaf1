"""Which of the host's samplers is of which kind: a list of what is known, all others are taken for the worst."""

from __future__ import annotations

from dataclasses import replace
from inspect import signature
from typing import Any

from ..algorithm.solver import Solver

MODULES = {"comfy.k_diffusion.sampling", "comfy.extra_samplers.uni_pc", "comfy.samplers"}

HOLD: dict[str, Any] = {"corrections": (0.0, 0.0, 0.0), "forecast": 0.0, "gap": 1}
"""Tokens are held, nothing is corrected, and one step is idle at a time."""

ONE_STEP = Solver("takes one answer a step")
MULTISTEP = Solver("looks back at earlier steps", corrections=(0.0, 0.5, 1.0))
NOISY = Solver("adds noise", **HOLD)
NOISY_BETWEEN = replace(NOISY, kind="adds noise between its noise levels, too", tokens=False)
NOISY_MULTISTEP = replace(
    NOISY,
    against="its sampler adds noise and builds on earlier answers, where forecasts are no better than fewer steps",
)
UNKNOWN = Solver("is not known", **HOLD)
OWN_LEVELS = replace(UNKNOWN, kind="has noise levels of its own")
ADAPTIVE = replace(UNKNOWN, against="its sampler tries noise levels, and takes them back by what the model answers")
CFG_PP = replace(
    UNKNOWN, against="its sampler moves by the negative prompt's answer, where forecasts do more harm than good"
)

_SOLVERS = {
    ONE_STEP: "euler heun heunpp2 dpm_2 exp_heun_2_x0",
    MULTISTEP: "lms dpmpp_2m ipndm ipndm_v deis res_multistep gradient_estimation unipc unipc_bh2",
    NOISY: """euler_ancestral ddpm er_sde res_multistep_ancestral sa_solver sa_solver_pece dpm_2_ancestral
    dpmpp_2s_ancestral seeds_2 seeds_3 exp_heun_2_x0_sde""",
    NOISY_BETWEEN: "dpmpp_sde dpmpp_sde_gpu",
    NOISY_MULTISTEP: """lcm dpmpp_2m_sde dpmpp_2m_sde_gpu dpmpp_2m_sde_heun dpmpp_2m_sde_heun_gpu dpmpp_3m_sde
    dpmpp_3m_sde_gpu""",
    CFG_PP: """euler_cfg_pp euler_ancestral_cfg_pp dpmpp_2m_cfg_pp dpmpp_2s_ancestral_cfg_pp res_multistep_cfg_pp
    res_multistep_ancestral_cfg_pp gradient_estimation_cfg_pp""",
    OWN_LEVELS: "dpm_fast_function",
    ADAPTIVE: "dpm_adaptive_function",
}
_AGAIN = {
    "heun": 2,
    "heunpp2": 3,
    "exp_heun_2_x0": 2,
    "exp_heun_2_x0_sde": 2,
    "dpm_2_ancestral": 2,
    "sa_solver_pece": 2,
}
"""How often samplers evaluate a noise level that is one of the schedule, where not once."""
_WITHOUT_NOISE = {"euler_ancestral": ONE_STEP, "dpmpp_2m_sde": MULTISTEP, "dpmpp_2m_sde_gpu": MULTISTEP}
"""What samplers are at ``eta`` 0, where they add no noise."""

SOLVERS: dict[str, Solver] = {
    name: replace(solver, evaluations=_AGAIN.get(name, 1))
    for solver, names in _SOLVERS.items()
    for name in names.split()
}
"""By the name of the host's function, without ``sample_``."""


_NAMES = {
    "unipc": "uni_pc",
    "unipc_bh2": "uni_pc_bh2",
    "dpm_fast_function": "dpm_fast",
    "dpm_adaptive_function": "dpm_adaptive",
}
"""In the host's lists, where the function has another."""


def find_solver(sampler: Any) -> Solver:
    """How a sampler (``comfy/samplers.py: KSAMPLER``) uses the model's answers, by its function and options."""
    name = _name_function(sampler)
    if name is None:
        return UNKNOWN
    options = _options(sampler)
    if options.get("s_churn", 0.0) > 0:
        return replace(NOISY, evaluations=_AGAIN.get(name, 1))
    if options.get("eta", 1.0) == 0 and name in _WITHOUT_NOISE:
        return _WITHOUT_NOISE[name]
    return SOLVERS.get(name, UNKNOWN)


def name_sampler(sampler: Any) -> str:
    """Name in the host's lists, with the options that are not its function's own: ``euler_ancestral(eta=0.5)``."""
    name = _name_function(sampler)
    if name is None:
        function = getattr(sampler, "sampler_function", sampler)
        return f"{getattr(function, '__name__', type(function).__name__)} of another node"
    own = {key: parameter.default for key, parameter in signature(sampler.sampler_function).parameters.items()}
    plain = {key: value for key, value in _options(sampler).items() if isinstance(value, int | float | str)}
    changed = ", ".join(f"{key}={value}" for key, value in sorted(plain.items()) if own.get(key) != value)
    return _NAMES.get(name, name) + (f"({changed})" if changed else "")


def _name_function(sampler: Any) -> str | None:
    """Of the host's own functions, without ``sample_``; None of all others."""
    function: Any = getattr(sampler, "sampler_function", None)
    known = getattr(function, "__module__", None) in MODULES
    return function.__name__.removeprefix("sample_") if known else None


def _options(sampler: Any) -> dict[str, Any]:
    return getattr(sampler, "extra_options", None) or {}
