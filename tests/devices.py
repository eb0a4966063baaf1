"""Where small models are sampled, the GPU where there is one, and how near two computations of the same are there."""

from __future__ import annotations

import torch
from comfy import model_management

LOAD = model_management.get_torch_device()
OFFLOAD = torch.device("cpu")
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
"""Largest relative error of a picture against the oracle's: rounding errors of the type, over a run of 10 steps."""

# a GPU's 19-bit products would be counted as errors of the method; those of matrices are off by default
torch.backends.cudnn.allow_tf32 = False
