"""What is remembered of one conditioning, and what its tokens are at full, pruned and idle steps.

All tensors are tokens [B, N, d]. The model's answer is the denoised latent; noise is (x - denoised) / sigma, which is
the velocity of a flow model. A step goes from its noise level ``sigma`` to that of the next, ``after``.
"""

from __future__ import annotations

import torch

from ..settings import CATSettings
from .clustering import Propagation
from .corrector import Corrector
from .noise import NoiseCache
from .selection import Selection, Selector


class Branch:
    """One conditioning of a run.

    Example, of one step of a sampler of one's own::

        if kind is StepKind.FULL:
            denoised = branch.answer_full(x, model(x, sigma), sigma, after)
        elif kind is StepKind.PRUNED:
            selection = branch.select(selector, sigma)
            denoised = branch.answer_pruned(x, model(x, sigma, selection), sigma, after, selection)
        else:
            denoised = branch.answer_idle(x, sigma, after)

    Args:
        settings: forecast and correction are used.
    """

    def __init__(self, settings: CATSettings):
        self.settings = settings
        self.noise: NoiseCache | None = None
        self.reference: torch.Tensor | None = None
        """Noise before the latest full step, which change is measured against."""
        self.corrector: Corrector | None = None

    def forecast(self, sigma: float) -> torch.Tensor:
        """Noise of all tokens, as it is known without computing any."""
        assert self.noise is not None, "the first step is a full one"
        return self.noise.at(sigma, self.settings.forecast)

    def select(self, selector: Selector, sigma: float) -> Selection:
        """The tokens to compute at a pruned step; ``selector`` may be shared by branches of one grid."""
        assert self.reference is not None, "the first step is a full one"
        return selector.select(self.forecast(sigma), self.reference)

    def answer_full(self, x: torch.Tensor, denoised: torch.Tensor, sigma: float, after: float) -> torch.Tensor:
        """Take over all tokens; return what the sampler is to be given.

        Args:
            x: the noisy latent.
            denoised: the model's answer.
            sigma, after: of the step; ``after`` of 0, as at the end of a run, corrects nothing.
        """
        settled = self._settle(denoised, sigma, after, denoised.new_ones(1, dtype=torch.bool))
        noise = (x - denoised) / sigma
        if self.noise is None:
            self.reference, self.noise = noise, NoiseCache(noise, sigma)
        else:
            self.reference = self.noise.latest
            self.noise.update(noise, sigma)
        return settled

    def answer_pruned(
        self,
        x: torch.Tensor,
        denoised: torch.Tensor,
        sigma: float,
        after: float,
        selection: Selection,
        propagation: Propagation | None = None,
    ) -> torch.Tensor:
        """Take over the selected tokens and forecast all others; return what the sampler is to be given.

        Args:
            x, sigma, after: as in :meth:`answer_full`.
            denoised: the model's answer, of which only the selected tokens are looked at.
            selection: which were computed.
            propagation: carries their change to the others, None for none.
        """
        assert self.noise is not None, "the first step is a full one"
        mask, noise, guess = selection.mask(), (x - denoised) / sigma, self.forecast(sigma)
        if propagation:
            guess = guess + propagation(selection.gather(noise - guess))
        settled = self._settle(torch.where(mask, denoised, x - sigma * guess), sigma, after, mask)
        self.noise.update(noise, sigma, mask)
        return settled

    def answer_idle(self, x: torch.Tensor, sigma: float, after: float) -> torch.Tensor:
        """Forecast all tokens; return what the sampler is to be given. Arguments as in :meth:`answer_full`."""
        denoised = x - sigma * self.forecast(sigma)
        return self._settle(denoised, sigma, after, denoised.new_zeros(1, dtype=torch.bool))

    def move(self, device: torch.device) -> None:
        """To where the conditioning is evaluated from now on: a few latents, if it is not there already."""
        if self.noise is None or self.noise.latest.device == device:
            return
        assert self.reference is not None, "both are of the first full step"
        self.noise.move(device)
        self.reference = self.reference.to(device)
        if self.corrector is not None:
            self.corrector.move(device)

    def _settle(self, denoised: torch.Tensor, sigma: float, after: float, computed: torch.Tensor) -> torch.Tensor:
        """Let the corrector see a step's answer; return what the sampler is to be given."""
        # a step down to zero forgets the past: what it is given is the picture
        if not self.settings.correction or after <= 0:
            return denoised
        if self.corrector is None:
            self.corrector = Corrector(denoised, sigma, self.settings.correction)
            return denoised
        return self.corrector.settle(denoised, sigma, 1 / after - 1 / sigma, computed)

    @property
    def bytes(self) -> int:
        """Memory held."""
        reference = 0 if self.reference is None else self.reference.nbytes
        return reference + sum(cache.bytes for cache in (self.noise, self.corrector) if cache)
