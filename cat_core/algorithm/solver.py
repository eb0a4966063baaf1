"""What samplers bear of forecasts, by how they use the model's answers.

A forecast's error can be handed to the sampler together with a later answer (:mod:`.corrector`) only if it adds one
answer a step to the latent, as Euler's method does: a multistep method takes a part of it back one step later, one that
adds noise has long changed what was missed. What a trend says of a latent with fresh noise is little, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..settings import CATSettings
from .schedule import SHORT_RUN, is_short

MEDIUM_RUN = 24
"""Steps of runs, up to which correction harms samplers that look back."""


@dataclass(frozen=True)
class Solver:
    """The most that is done with the samplers of one kind; settings that ask for less stay as they are.

    Attributes:
        kind: of the samplers, to go on behind "a sampler that".
        corrections: the largest share of a forecast's error that is made good, in runs of up to SHORT_RUN steps, of up
            to MEDIUM_RUN, and of more.
        forecast: how far a token follows its trend at most.
        gap: how many steps in a row may be idle at most; 0 for any number.
        tokens: whether single tokens may be computed; idle steps take the place of pruned ones where not.
        evaluations: how often it evaluates one noise level.
        against: why its runs are computed in full, or None.
    """

    kind: str
    corrections: tuple[float, float, float] = (1.0, 1.0, 1.0)
    forecast: float = 1.0
    gap: int = 0
    tokens: bool = True
    evaluations: int = 1
    against: str | None = None

    def bound(self, settings: CATSettings, steps: int, guided: bool = True) -> CATSettings:
        """Settings that ask for no more than these samplers bear in a run of so many steps (``count_whole_steps``).

        Short runs have idle steps alone, each between two full ones, unless warm-up steps are chosen. What CFG makes of
        wide steps follows no trend; what a distilled model answers without it does. ``guided`` is whether there is CFG.
        """
        forecast, gap = self.forecast, self.gap
        if settings.selects_tokens and not self.tokens:
            settings = settings.without_tokens()
        if settings.keep_ratio < 1 and is_short(steps, settings):
            settings, forecast, gap = settings.without_tokens(), 0.0 if guided else forecast, 1
        if gap and settings.keep_ratio == 0 and not settings.selects_tokens:
            settings = replace(settings, refresh_interval=min(settings.refresh_interval, gap + 1))
        most = self.corrections[(steps > SHORT_RUN) + (steps > MEDIUM_RUN)]
        return replace(settings, correction=min(settings.correction, most), forecast=min(settings.forecast, forecast))
