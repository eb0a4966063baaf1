"""What the quality benchmark samples: the demo model's pictures, its distilled variant's, and parts repainted."""

from __future__ import annotations

from dataclasses import dataclass

CONVERGED_SAMPLER = "dpmpp_2m"


@dataclass(frozen=True)
class Task:
    """One way in which pictures are made, that all methods are compared in.

    Attributes:
        name: of the command line, and of its page and rows.
        title: of the page.
        cfg: guidance scale.
        distilled: whether by the demo model's distilled variant.
        repainted: share of the picture that is repainted, a square; what lies outside it is not compared. 0 for all.
        of_solvers: whether fewer steps of other solvers are among the rivals.
        tuned: whether settings that were tuned (``bench.tuning``) are among the methods.
        second: whether of the second model (``bench.second_model``).
        converged: steps of :data:`CONVERGED_SAMPLER` whose picture all are compared with; 0 for the sampler's own one.
    """

    name: str
    title: str
    cfg: float = 4.0
    distilled: bool = False
    repainted: float = 0.0
    of_solvers: bool = False
    tuned: bool = False
    second: bool = False
    converged: int = 0

    @property
    def findings(self) -> str:
        """The file that its page begins with, written by hand."""
        return f"{self.name}_findings.md"

    def recipe(self) -> str:
        """All that a sample depends on, as text; what came later is left out where it is not used."""
        part = f" repainted {self.repainted}" if self.repainted else ""
        return f"{self.cfg}{' distilled' if self.distilled else ''}{part}{' second' if self.second else ''}"


TEXT = Task("quality", "Quality against cost")
RIVALS = Task("rivals", "Quality against cost, and rivals by their own code")
SAMPLERS = Task("samplers", "Quality against cost, sampler by sampler")
TASKS = {
    task.name: task
    for task in (
        TEXT,
        RIVALS,
        SAMPLERS,
        Task("distilled", "Quality against cost, of a distilled model", cfg=1.0, distilled=True),
        Task("solvers", "Quality against cost, and other solvers", of_solvers=True),
        Task("converged", "Quality against cost, from the converged picture", of_solvers=True, converged=84),
        Task("inpainting", "Quality against cost, where a fifth is repainted", repainted=0.2),
        Task("tuned", "Quality against cost, tuned", tuned=True),
        Task("tuned_second", "Quality against cost, tuned on another model", tuned=True, second=True),
    )
}
