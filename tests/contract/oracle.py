"""A pruned step without gather or scatter: the dense computation that it must equal.

All tokens run through the unpatched model. In every attention, keys and values of unselected image tokens are replaced
by the ones of the last step that computed them. Outputs of selected tokens are the answer; the others' noise is held or
forecast. Nothing of the pack is used but the selections that the pruned run reports.
"""

from __future__ import annotations

from typing import Any

import torch
from comfy.patcher_extension import WrappersMP


class Oracle:
    """Attach to a clone of the unpatched model and sample.

    Args:
        selected: per step, [B, rows, columns] of selected tokens, or None for a full step.
        sigmas: start of every step.
        damping: of the forecast.
        patch: side of a token in latent pixels.
    """

    def __init__(self, selected: list[Any], sigmas: list[float], damping: float, patch: int = 2):
        self.selected = [None if m is None else torch.as_tensor(m) for m in selected]
        self.sigmas, self.damping, self.patch = torch.tensor(sigmas), damping, patch
        self.keys: dict[Any, dict[int, tuple]] = {}
        self.known: dict[Any, dict[str, torch.Tensor]] = {}

    def attach(self, model: Any) -> Any:
        clone = model.clone()
        clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "oracle", self._apply_model)
        return clone

    def _apply_model(self, executor, x, t, concat=None, context=None, control=None, options=None, **extra):
        sigma = float(options["sigmas"][0])
        mask = self.selected[int((self.sigmas - sigma).abs().argmin())]
        names = list(zip(options["uuids"], options["cond_or_uncond"], strict=True))
        layer = iter(range(10**6))

        def attend(func, q, k, v, *rest, **more):
            number = next(layer)
            pairs = [
                self._mix(name, number, pair, mask)
                for name, *pair in zip(names, k.chunk(len(names)), v.chunk(len(names)), strict=True)
            ]
            return func(q, torch.cat([p[0] for p in pairs]), torch.cat([p[1] for p in pairs]), *rest, **more)

        out = executor(x, t, concat, context, control, {**options, "optimized_attention_override": attend}, **extra)
        parts = zip(names, x.chunk(len(names)), out.chunk(len(names)), strict=True)
        return torch.cat([self._answer(name, part, new, sigma, mask) for name, part, new in parts])

    def _mix(self, name, number, pair, mask):
        if mask is not None:
            chosen = mask.flatten(1)
            text = torch.ones(len(chosen), pair[0].shape[1] - chosen.shape[1], dtype=torch.bool)
            fresh = torch.cat((text, chosen), 1)
            held = self.keys[name][number]
            # keys are [B, L, d], values [B, L, heads, d / heads]
            pair = [
                torch.where(fresh.view(*fresh.shape, *[1] * (new.ndim - 2)), new, old)
                for new, old in zip(pair, held, strict=True)
            ]
        self.keys.setdefault(name, {})[number] = tuple(rows.clone() for rows in pair)
        return pair

    def _answer(self, name, x, denoised, sigma, mask):
        noise = (x - denoised) / sigma
        pixels = torch.ones_like(noise[:, :1], dtype=torch.bool)
        if mask is not None:
            wide = mask.repeat_interleave(self.patch, 1).repeat_interleave(self.patch, 2)
            pixels = wide[:, None, : x.shape[-2], : x.shape[-1]]
        here = torch.full_like(noise[:, :1], sigma)
        if name not in self.known:
            self.known[name] = {"n0": noise, "s0": here, "n1": noise, "s1": here}
            return denoised
        k = self.known[name]
        gap = k["s0"] - k["s1"]
        slope = torch.where(gap == 0, torch.zeros_like(noise), (k["n0"] - k["n1"]) / torch.where(gap == 0, 1.0, gap))
        guess = k["n0"] + self.damping * slope * (sigma - k["s0"])
        for now, before, value in (("n0", "n1", noise), ("s0", "s1", here)):
            k[before] = torch.where(pixels, k[now], k[before])
            k[now] = torch.where(pixels, value, k[now])
        return torch.where(pixels, denoised, x - sigma * guess)
