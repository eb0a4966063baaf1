"""A run without gather, scatter or skipped calls: the dense computation that a pruned run must equal.

All tokens run through the unpatched model at every step. In every attention, keys and values of image tokens that a
step did not select are replaced by those of the last step that computed them, moved by what the selected tokens of
their cluster changed. Outputs of selected tokens are the answer; the others' noise is forecast and moved alike.
Nothing of the pack is used but what the pruned run reports: selections and clusters.
"""

from __future__ import annotations

from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from torch.nn.functional import fold, pad, unfold


class Oracle:
    """Attach to a clone of the unpatched model and sample.

    Args:
        report: of the pruned run.
        settings: forecast, correction and propagation are used.
        patch: side of a token in latent pixels.
    """

    def __init__(self, report: Any, settings: Any, patch: int = 2):
        self.masks = [self._mask(step) for step in report.steps]
        self.labels = None if report.clusters is None else torch.as_tensor(report.clusters).flatten(1)
        self.sigmas = torch.tensor([step.sigma for step in report.steps])
        self.settings, self.patch = settings, patch
        self.keys: dict[Any, dict[int, tuple]] = {}
        self.past: dict[Any, list[tuple]] = {}

    @staticmethod
    def _mask(step: Any) -> torch.Tensor | None:
        """[B, rows, columns], None for all tokens, one False for none."""
        if step.kind == "full":
            return None
        return torch.zeros(1, 1, 1, dtype=torch.bool) if step.kind == "idle" else torch.as_tensor(step.selected)

    def attach(self, model: Any) -> Any:
        clone = model.clone()
        clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "oracle", self._apply_model)
        return clone

    def _apply_model(self, executor, x, t, concat=None, context=None, control=None, options=None, **extra):
        sigma = float(options["sigmas"][0])
        step = int((self.sigmas - sigma).abs().argmin())
        mask = self.masks[step]
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
        return torch.cat([self._answer(name, part, new, step, mask) for name, part, new in parts])

    def _mix(self, name, number, pair, mask):
        if mask is not None and mask.any():
            chosen = mask.flatten(1)
            text = pair[0].shape[1] - chosen.shape[1]
            pair = [self._mixed(new, old, chosen, text) for new, old in zip(pair, self.keys[name][number], strict=True)]
        if mask is None or mask.any():
            self.keys.setdefault(name, {})[number] = tuple(rows.clone() for rows in pair)
        return pair

    def _mixed(self, new, old, chosen, text):
        """Rows [B, text + N, ...]; keys are [B, L, d], values [B, L, heads, d / heads]."""
        moved = old[:, text:].flatten(2)
        moved = moved + self._carried(new[:, text:].flatten(2) - moved, chosen)
        image = torch.where(chosen.unsqueeze(-1), new[:, text:].flatten(2), moved)
        return torch.cat((new[:, :text], image.view_as(new[:, text:])), 1)

    def _carried(self, change, chosen):
        """Change [B, N, d] of the chosen tokens -> the share that each token of their cluster takes over."""
        carried = torch.zeros_like(change)
        for sample in range(len(change)):
            for cluster in self.labels[sample].unique():
                members = self.labels[sample] == cluster
                known = members & chosen[sample]
                carried[sample, members] = change[sample, known].sum(0) / (1 + known.sum())
        return self.settings.propagation * carried

    def _answer(self, name, x, denoised, step, mask):
        sigma = float(self.sigmas[step])
        noise = (x - denoised) / sigma
        past = self.past.setdefault(name, [])
        pixels = torch.ones_like(noise[:, :1], dtype=torch.bool)
        if mask is not None:
            guess = self._guess(past, noise, sigma)
            pixels = torch.zeros_like(pixels)
            if mask.any():
                wide = mask.repeat_interleave(self.patch, 1).repeat_interleave(self.patch, 2)
                pixels = wide[:, None, : x.shape[-2], : x.shape[-1]]
                guess = guess + self._carried_latent(noise - guess, mask)
            denoised = torch.where(pixels, denoised, x - sigma * guess)
        correction = self._correction(past, denoised, pixels, step)
        past.append((step, pixels, noise, denoised))
        return denoised + correction

    def _guess(self, past, noise, sigma):
        """Forecast from each pixel's last two computed values."""
        known: list[list] = [[torch.zeros_like(noise), torch.full_like(noise, torch.nan)] for _ in range(2)]
        for step, pixels, value, _ in past:
            there = pixels.expand_as(noise)
            for k in range(2):
                known[1][k] = torch.where(there, known[0][k], known[1][k])
            known[0] = [torch.where(there, value, known[0][0]), torch.where(there, self.sigmas[step], known[0][1])]
        (value, at), (before, at_before) = known
        reach = (sigma - at) / (at - at_before)
        trend = (reach / (1 + reach)) * (value - before)
        return value + self.settings.forecast * torch.where(at_before.isnan(), 0.0, trend)

    def _carried_latent(self, change, mask):
        p, (rows, columns) = self.patch, mask.shape[1:]
        height, width = change.shape[-2:]
        tokens = unfold(pad(change, (0, columns * p - width, 0, rows * p - height)), p, stride=p).mT
        carried = self._carried(tokens, mask.flatten(1)).mT
        return fold(carried, (rows * p, columns * p), p, stride=p)[..., :height, :width]

    def _weight(self, step):
        return 1 / self.sigmas[step + 1] - 1 / self.sigmas[step]

    def _correction(self, past, denoised, pixels, step):
        """What the answers since each pixel's last computation lack, were it on a line between then and now."""
        total = torch.zeros_like(denoised)
        if step + 1 == len(self.sigmas):
            return total
        for place, (start, there, _, before) in enumerate(past):
            later = past[place + 1 :]
            last = pixels & there & ~torch.stack([torch.zeros_like(there), *(entry[1] for entry in later)]).any(0)
            slope = (denoised - before) / (self.sigmas[step] - self.sigmas[start])
            for between, _, _, given in later:
                line = before + slope * (self.sigmas[between] - self.sigmas[start])
                total = total + torch.where(last, self._weight(between) * (line - given), 0.0)
        return self.settings.correction * total / self._weight(step)
