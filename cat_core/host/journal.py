"""What a run says about itself: why it does less than was asked for, and what else is to be known. Each once."""

from __future__ import annotations

import logging

from ..report import Report

log = logging.getLogger(__name__)

IN_FULL = "in full"
IDLE_INSTEAD = "idle steps in place of pruned ones"


class Journal:
    """Writes into a run's report and into the log."""

    def __init__(self, report: Report):
        self.report = report

    def allows(self, reason: str | None, otherwise: str = IN_FULL) -> bool:
        """Whether there is no reason against something; if there is, it is written down with what happens instead."""
        if reason is None:
            return True
        entry = f"{otherwise}: {reason}"
        if entry not in self.report.reasons:
            self.report.reasons.append(entry)
            log.info("CAT Pruning, %s", entry)
        return False

    def note(self, text: str) -> None:
        """Write down what does not change what is computed."""
        if text not in self.report.notes:
            self.report.notes.append(text)
            log.info("CAT Pruning: %s", text)
