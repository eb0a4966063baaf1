"""CAT Pruning without ComfyUI: a small transformer of one's own, sampled with and without it.

    python -m standalone.prune_a_transformer

from the folder of this repository. Needs torch alone.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from cat_core.algorithm.branch import Branch
from cat_core.algorithm.clustering import Propagation
from cat_core.algorithm.schedule import Schedule, StepKind
from cat_core.algorithm.selection import Selection, Selector
from cat_core.caching.kv import KVCache
from cat_core.settings import PRESETS, CATSettings

GRID, CHANNELS, WIDTH, HEADS, BLOCKS = (16, 16), 16, 64, 4, 4


@dataclass
class Memory:
    """What a call is to keep, or to compute."""

    cache: KVCache
    selection: Selection | None = None
    """Compute only these tokens; None for all."""
    propagation: Propagation | None = None


class Block(nn.Module):
    """Attention and MLP; the one change for CAT Pruning is :meth:`keys_and_values`."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x: torch.Tensor, memory: Memory) -> torch.Tensor:
        query, key, value = self.qkv(self.norm1(x)).chunk(3, -1)
        key, value = self.keys_and_values(key, value, memory)
        heads = [part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (query, key, value)]
        x = x + self.out(scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))

    def keys_and_values(self, key, value, memory: Memory):
        """A full step keeps all rows; a pruned one renews k of them and attends to all."""
        if memory.selection is None:
            memory.cache.store(self.number, key, value)
            return key, value
        return memory.cache.renew(self.number, key, value, memory.selection, 0, memory.propagation)


class Model(nn.Module):
    """Noisy tokens [B, N, channels] -> denoised ones."""

    def __init__(self):
        super().__init__()
        self.embed, self.sigma = nn.Linear(CHANNELS, WIDTH), nn.Linear(1, WIDTH)
        self.place = nn.Parameter(torch.randn(GRID[0] * GRID[1], WIDTH))
        self.blocks = nn.ModuleList(Block(number) for number in range(BLOCKS))
        self.head = nn.Linear(WIDTH, CHANNELS)

    def forward(self, tokens, sigma: float, memory: Memory) -> torch.Tensor:
        """Tokens that ``memory`` does not select come back as they were."""
        x = self.embed(tokens) + self.place + self.sigma(tokens.new_full((1,), sigma))
        if memory.selection:
            x = memory.selection.gather(x)
        for block in self.blocks:
            x = block(x, memory)
        noise = self.head(x)
        return tokens - sigma * (memory.selection.scatter(noise) if memory.selection else noise)


@torch.no_grad()
def sample(model: Model, noise: torch.Tensor, sigmas: list[float], settings: CATSettings) -> tuple[torch.Tensor, int]:
    """Euler steps from ``noise`` [B, N, channels]; returns the result and how many tokens were computed."""
    schedule, selector = Schedule(sigmas, settings), Selector(settings, GRID)
    branch, cache = Branch(settings), KVCache()
    tokens, computed = noise, 0
    for kind, sigma, after in zip(schedule.kinds, sigmas, sigmas[1:], strict=False):
        if kind is StepKind.FULL:
            denoised = branch.answer_full(tokens, model(tokens, sigma, Memory(cache)), sigma, after)
            selector.note_refresh()
            computed += tokens.shape[1]
        elif kind is StepKind.PRUNED:
            selection = branch.select(selector, sigma)
            propagation = selector.propagation(selection)
            fresh = model(tokens, sigma, Memory(cache, selection, propagation))
            denoised = branch.answer_pruned(tokens, fresh, sigma, after, selection, propagation)
            computed += selection.count
        else:
            denoised = branch.answer_idle(tokens, sigma, after)
        tokens = tokens + (after - sigma) * (tokens - denoised) / sigma
    return tokens, computed


def main() -> None:
    """Sample with every preset and say what it computed and how far its result is from the plain one."""
    torch.manual_seed(0)
    model = Model().eval()
    noise = torch.randn(1, GRID[0] * GRID[1], CHANNELS)
    sigmas = torch.linspace(1, 0, 29).tolist()
    plain, all_tokens = sample(model, noise, sigmas, CATSettings(keep_ratio=1))
    for name, settings in PRESETS.items():
        result, computed = sample(model, noise, sigmas, settings)
        error = ((result - plain).norm() / plain.norm()).item()
        print(f"{name:9} {computed / all_tokens:.2f} of the tokens computed, relative error {error:.1e}")


if __name__ == "__main__":
    main()
