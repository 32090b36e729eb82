"""The errors of our models against the published code, and their limits. Needs no torch, so that tables can use it."""

from __future__ import annotations

from dataclasses import dataclass

LOGITS, KERNEL, GRADIENT = 1e-4, 1e-4, 1e-3  # the largest relative errors that count as agreement in float32


@dataclass(frozen=True)
class Agreement:
    """The relative errors of our model in one case: |ours - theirs| / |theirs| in the L2 norm.

    Attributes:
        parameters: how many real numbers our model trains; a complex number counts as two.
        logits, gradient: errors of the logits and of the loss's gradient with respect to the images; the larger error
            of the live and the frozen model.
        kernel: the largest error over the layers; None if the case has no kernels.
    """

    case: str
    parameters: int
    logits: float
    kernel: float | None
    gradient: float

    @property
    def ok(self) -> bool:
        """Whether all errors are small enough; a NaN is not."""
        return self.logits <= LOGITS and (self.kernel is None or self.kernel <= KERNEL) and self.gradient <= GRADIENT
