"""A run without gather, scatter or skipped calls: the dense computation that a pruned run must equal.

All tokens run through the unpatched model at every step. In every attention over image tokens, keys and values of
those that a step did not select are replaced by those of the last step that computed them, moved by what the selected
tokens of their cluster changed. Outputs of selected tokens are the answer; the others' noise is forecast and moved
alike. Nothing of the pack is used but what the pruned run reports: selections and clusters.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any
from unittest.mock import patch as replaced

import torch
from comfy.patcher_extension import WrappersMP
from comfy.utils import pack_latents, unpack_latents
from einops import rearrange


class Oracle:
    """Attach to a clone of the unpatched model and sample.

    Args:
        report: of the pruned run.
        settings: forecast, correction and propagation are used.
        patch: latent frames, rows and columns of a token.
        behind: how many rows of an attention's sequence lie behind the image tokens, None for all other rows.
        serves: whether the n-th attention of a call is one over image tokens.
        blind: name of the host's attention function, say ``package.module.function``, where it cannot be overridden.
    """

    def __init__(
        self,
        report: Any,
        settings: Any,
        patch=(1, 2, 2),
        behind=0,
        serves=lambda number: True,
        blind: str | None = None,
    ):
        self.masks = [self._mask(step) for step in report.steps]
        self.labels = None if report.clusters is None else torch.as_tensor(report.clusters).flatten(1)
        self.sigmas = torch.tensor([step.sigma for step in report.steps])
        self.settings, self.patch = settings, patch
        self.behind, self.serves, self.blind = behind, serves, blind
        self.keys: dict[Any, dict[int, tuple]] = {}
        self.past: dict[Any, list[tuple]] = {}

    @staticmethod
    def _mask(step: Any) -> torch.Tensor | None:
        """[B, (frames,) rows, columns], None for all tokens, one False for none."""
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
        count = iter(range(10**6))

        def attend(func, q, k, v, *rest, **more):
            number = next(count)
            if not self.serves(number):
                return func(q, k, v, *rest, **more)
            heads_first = more.get("skip_reshape", False)
            rows = [t.transpose(1, 2) if heads_first else t for t in (k, v)]
            parts = zip(names, *(t.chunk(len(names)) for t in rows), strict=True)
            pairs = [self._mix(name, number, pair, mask) for name, *pair in parts]
            k, v = (torch.cat([pair[i] for pair in pairs]) for i in (0, 1))
            return func(q, *(t.transpose(1, 2) if heads_first else t for t in (k, v)), *rest, **more)

        with self._seeing(attend):
            seen = {**options, "optimized_attention_override": attend} if self.blind is None else options
            out = executor(x, t, concat, context, control, seen, **extra)
        parts = zip(names, x.chunk(len(names)), out.chunk(len(names)), strict=True)
        packed = extra.get("latent_shapes") or ()
        answer = partial(self._answer_all, packed=packed) if len(packed) > 1 else self._answer
        return torch.cat([answer(name, part, new, step, mask) for name, part, new in parts])

    def _seeing(self, attend):
        """Where the host gives attention no options, its module's own function is replaced."""
        if self.blind is None:
            return nullcontext()
        from comfy.ldm.modules.attention import optimized_attention

        return replaced(self.blind, lambda *args, **kwargs: attend(optimized_attention, *args, **kwargs))

    def _mix(self, name, number, pair, mask):
        if mask is not None and mask.any():
            old = self.keys[name][number]
            pair = [self._mixed(new, held, mask.flatten(1)) for new, held in zip(pair, old, strict=True)]
        if mask is None or mask.any():
            self.keys.setdefault(name, {})[number] = tuple(rows.clone() for rows in pair)
        return pair

    def _mixed(self, new, old, chosen):
        """Rows [B, L, d] or [B, L, heads, d / heads]."""
        tokens = chosen.shape[1]
        first = 0 if self.behind is None else new.shape[1] - tokens - self.behind
        fresh = new.flatten(2)[:, first : first + tokens]
        moved = old.flatten(2)[:, first : first + tokens]
        moved = moved + self._carried(fresh - moved, chosen)
        mixed = new.clone()
        mixed[:, first : first + tokens] = torch.where(chosen.unsqueeze(-1), fresh, moved).unflatten(2, new.shape[2:])
        return mixed

    def _carried(self, change, chosen):
        """Change [B, N, d] of the chosen tokens -> the share that each token of their cluster takes over."""
        carried = torch.zeros_like(change)
        for sample in range(len(change)):
            for cluster in self.labels[sample].unique():
                members = self.labels[sample] == cluster
                known = members & chosen[sample]
                carried[sample, members] = change[sample, known].sum(0) / (1 + known.sum())
        return self.settings.propagation * carried

    def _answer_all(self, name, x, denoised, step, mask, packed):
        """Of latents packed into one the first has tokens; the others are computed in full where any token is."""
        answers = []
        for number, (part, new) in enumerate(zip(*(unpack_latents(y, packed) for y in (x, denoised)), strict=True)):
            among = mask if number == 0 or mask is None or not mask.any() else None
            answers.append(self._answer((name, number), part, new, step, among))
        return pack_latents(answers)[0]

    def _answer(self, name, x, denoised, step, mask):
        sigma = float(self.sigmas[step])
        noise = (x - denoised) / sigma
        past = self.past.setdefault(name, [])
        pixels = torch.ones_like(noise[:, :1], dtype=torch.bool)
        if mask is not None:
            guess = self._guess(past, noise, sigma)
            pixels = torch.zeros_like(pixels)
            if mask.any():
                tokens = mask.flatten(1).unsqueeze(-1)
                pixels = self._latent(tokens.expand(-1, -1, torch.tensor(self.patch).prod()), x)
                change = self._carried(self._tokens(noise - guess), mask.flatten(1))
                guess = guess + self._latent(change, x)
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

    def _tokens(self, latent):
        """[B, C, (T,) H, W] -> [B, N, C * patch], padded with zeros."""
        volume = latent if latent.ndim == 5 else latent.unsqueeze(2)
        missing = [-size % side for size, side in zip(volume.shape[2:], self.patch, strict=True)]
        volume = torch.nn.functional.pad(volume, (0, missing[2], 0, missing[1], 0, missing[0]))
        p, q, r = self.patch
        return rearrange(volume, "b c (t p) (h q) (w r) -> b (t h w) (c p q r)", p=p, q=q, r=r)

    def _latent(self, tokens, like):
        """Inverse of :meth:`_tokens` for a latent as large as ``like``."""
        frames, rows, columns = (1, *like.shape[2:])[-3:]
        p, q, r = self.patch
        t, h, w = -(-frames // p), -(-rows // q), -(-columns // r)
        volume = rearrange(tokens, "b (t h w) (c p q r) -> b c (t p) (h q) (w r)", t=t, h=h, w=w, p=p, q=q, r=r)
        volume = volume[:, :, :frames, :rows, :columns]
        return volume if like.ndim == 5 else volume.squeeze(2)

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
