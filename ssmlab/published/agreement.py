"""How far a model is from the published code, and how far it may be. Knows no torch, so that tables can show it."""

from __future__ import annotations

from dataclasses import dataclass

LOGITS, KERNEL, GRADIENT = 1e-4, 1e-4, 1e-3  # the relative errors that still count as agreement in float32


@dataclass(frozen=True)
class Agreement:
    """One case: how far ours is from the published code, |ours - theirs| / |theirs| in the L2 sense.

    Attributes:
        parameters: real numbers that ours trains; a complex one counts as two.
        logits, gradient: of the model, and of the loss with respect to the images; the larger of live and frozen form.
        kernel: the largest over the layers; None where the case holds no kernels.
    """

    case: str
    parameters: int
    logits: float
    kernel: float | None
    gradient: float

    @property
    def ok(self) -> bool:
        """Whether all errors are small enough; one that is no number is not."""
        return self.logits <= LOGITS and (self.kernel is None or self.kernel <= KERNEL) and self.gradient <= GRADIENT
