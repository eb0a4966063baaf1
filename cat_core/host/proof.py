"""Proof before pruning: some tokens are computed by themselves at a full step, where the right answer is known."""

from __future__ import annotations

import torch

from ..algorithm.selection import Selection

PROVED_TOKENS = 64
EXACT, HALF, QUANTISED = 1e-4, 0.02, 0.1
"""Largest relative error of a right layout by precision: float32, 16 bit, and less.

Measured over the families' small models: 2e-7, 0.004, and 0.05 where activations are float8. Wrong rows are off by 0.5
and more, positions of neighbours by 0.0007 and more, which not every precision tells. A right layout that is taken for
a wrong one costs little: there are idle steps then.
"""
TOLERANCES = {torch.float32: EXACT, torch.float16: HALF, torch.bfloat16: HALF}


class Proof:
    """What is known of the layouts of a run's calls; errors stay on the device until they are asked for.

    A layout that is wrong (rows of other tokens, positions of their neighbours, modulation of references) changes the
    answer for nearly every token, so few of them tell.
    """

    def __init__(self) -> None:
        self.layouts: set[tuple] = set()
        self.errors: dict[torch.device, list[torch.Tensor]] = {}

    def holds_for(self, layout: tuple) -> bool:
        """Whether calls of this layout were tried."""
        return layout in self.layouts

    def add(self, layout: tuple, computed: torch.Tensor, true: torch.Tensor) -> None:
        """Compare the same tokens, computed by themselves and among all others: [B, n, d] each."""
        error = (computed - true).flatten(1).norm(dim=1) / true.flatten(1).norm(dim=1).clamp(min=1e-12)
        self.layouts.add(layout)
        self.errors.setdefault(error.device, []).append(error.max())

    def reason_against(self, most: float) -> str | None:
        """Why the layouts that were tried since the last question are wrong, or None. Reads from each device once.

        Args:
            most: largest error of a right one.
        """
        worst = [torch.stack(errors).max().item() for errors in self.errors.values()]
        self.errors.clear()
        # the comparison is also False for NaN
        wrong = [error for error in worst if not error <= most]
        if not wrong:
            return None
        return f"proof failed, tokens computed by themselves differ by {max(wrong):.2g} from the same among all others"


def scatter_selection(samples: int, tokens: int, device: torch.device) -> Selection:
    """Tokens all over the picture, others for each sample: a mistake in one row or for one sample does not hide."""
    count = min(PROVED_TOKENS, max(1, tokens // 2))
    draw = torch.Generator().manual_seed(0)
    rows = [torch.randperm(tokens, generator=draw)[:count].sort().values for _ in range(samples)]
    return Selection(torch.stack(rows).to(device), tokens)


def tolerance(transformer: torch.nn.Module, dtype: torch.dtype | None, overridden: bool) -> float:
    """Largest error of a right layout.

    Args:
        transformer: the diffusion transformer, loaded.
        dtype: of kept keys and values, None for the model's own.
        overridden: whether another node computes attention, as it sees fit.
    """
    weights = list(transformer.parameters())
    dtypes = {weight.dtype for weight in weights} | ({dtype} if dtype else set())
    # a subclass is how hosts pack weights
    if overridden or not dtypes <= set(TOLERANCES) or any(type(weight.data) is not torch.Tensor for weight in weights):
        return QUANTISED
    return max(TOLERANCES[dtype] for dtype in dtypes)
