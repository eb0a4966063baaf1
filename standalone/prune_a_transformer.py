"""CAT Pruning without ComfyUI: a small transformer of one's own, sampled with and without it.

    python -m standalone.prune_a_transformer

from the folder of this repository. Needs torch alone.
"""

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from cat_core.algorithm.schedule import Schedule, StepKind
from cat_core.algorithm.selection import Selection, Selector
from cat_core.caching.kv import KVCache
from cat_core.caching.noise import NoiseCache
from cat_core.settings import PRESETS, CATSettings

GRID, CHANNELS, WIDTH, HEADS, BLOCKS = (16, 16), 16, 64, 4, 4


class Block(nn.Module):
    """Attention and MLP; the one change for CAT Pruning is :meth:`keys_and_values`."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x: torch.Tensor, cache: KVCache, selection: Selection | None) -> torch.Tensor:
        query, key, value = self.qkv(self.norm1(x)).chunk(3, -1)
        key, value = self.keys_and_values(key, value, cache, selection)
        heads = [part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (query, key, value)]
        x = x + self.out(scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))

    def keys_and_values(self, key, value, cache: KVCache, selection: Selection | None):
        """A full step keeps all rows; a pruned one renews k of them and attends to all."""
        if selection is None:
            cache.store(self.number, key, value)
            return key, value
        return cache.renew(self.number, key, value, selection, first=0)


class Model(nn.Module):
    """Noise tokens [B, N, channels] -> what to move them by."""

    def __init__(self):
        super().__init__()
        self.embed, self.sigma = nn.Linear(CHANNELS, WIDTH), nn.Linear(1, WIDTH)
        self.place = nn.Parameter(torch.randn(GRID[0] * GRID[1], WIDTH))
        self.blocks = nn.ModuleList(Block(number) for number in range(BLOCKS))
        self.head = nn.Linear(WIDTH, CHANNELS)

    def forward(self, tokens, sigma: float, cache: KVCache, selection: Selection | None = None) -> torch.Tensor:
        """``selection``: compute only these tokens; the others' rows come back as zeros."""
        x = self.embed(tokens) + self.place + self.sigma(tokens.new_full((1,), sigma))
        if selection:
            x = selection.gather(x)
        for block in self.blocks:
            x = block(x, cache, selection)
        out = self.head(x)
        return selection.scatter(out) if selection else out


@torch.no_grad()
def sample(model: Model, noise: torch.Tensor, sigmas: list[float], settings: CATSettings) -> tuple[torch.Tensor, int]:
    """Euler steps from ``noise`` [B, N, channels]; returns the result and how many tokens were computed."""
    schedule, selector, cache = Schedule(sigmas, settings), Selector(settings, GRID), KVCache()
    tokens, computed = noise, 0
    kept = reference = None
    for step, kind in enumerate(schedule.kinds):
        sigma = sigmas[step]
        if kind is StepKind.FULL or kept is None:
            out = model(tokens, sigma, cache)
            computed += out.shape[1]
            selector.refreshed()
            if kept is None:
                kept, reference = NoiseCache(out, sigma), out
            else:
                reference = kept.latest
                kept.update(out, sigma)
        else:
            out = kept.at(sigma, settings.forecast)
            if kind is StepKind.PRUNED:
                selection = selector.select(out, reference)
                fresh = model(tokens, sigma, cache, selection)
                computed += selection.count
                out = torch.where(selection.mask(), fresh, out)
                kept.update(fresh, sigma, selection.mask())
        tokens = tokens + (sigmas[step + 1] - sigma) * out
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
