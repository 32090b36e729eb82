"""What a training reports while it goes on."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ssmlab.artifacts.history import Row
from ssmlab.nets.classifier import Classifier
from ssmlab.training.state import TrainingState


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What the model did on one batch, or on several together.

    Attributes:
        loss: mean over the images; in training, before the optimiser step that it led to.
        images: how many.
        right_clean, right_robust: how many of them were classified right, clean or attacked; None if nobody looked.
    """

    loss: float
    images: int
    right_clean: int | None
    right_robust: int | None

    def merged_with(self, other: BatchResult) -> BatchResult:
        """Both as one: losses averaged over their images, counts added."""
        images = self.images + other.images
        clean, robust = (self.right_clean, other.right_clean), (self.right_robust, other.right_robust)
        return BatchResult(
            loss=(self.loss * self.images + other.loss * other.images) / images,
            images=images,
            right_clean=None if clean[0] is None or clean[1] is None else clean[0] + clean[1],
            right_robust=None if robust[0] is None or robust[1] is None else robust[0] + robust[1],
        )

    @property
    def clean_accuracy(self) -> float | None:
        return None if self.right_clean is None else self.right_clean / self.images

    @property
    def robust_accuracy(self) -> float | None:
        return None if self.right_robust is None else self.right_robust / self.images


NO_IMAGES = BatchResult(loss=0.0, images=0, right_clean=0, right_robust=0)  # the start of a sum over batches


def count_right(logits: Tensor, y: Tensor) -> int:
    """How many of the logits (B, classes) are highest at their label y (B,)."""
    return int((logits.argmax(dim=1) == y).sum())


@dataclass(frozen=True, slots=True)
class StepDone:
    """One optimiser step is done.

    Attributes:
        epoch, epochs, step, steps: both from 1; steps are those of the whole training.
        loss: mean over the epoch's images so far.
        clean, robust: accuracies in [0, 1]; the one that the regime measures is over the epoch's images so far, the
            other is the last validation's, None before the first.
        images: training images so far, in all epochs; one that is replayed counts every time.
        images_per_second: over the epoch so far.
        eta: seconds until training ends, at the mean speed so far; None while that is not known.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    clean: float | None
    robust: float | None
    images: int
    images_per_second: float
    eta: float | None


@dataclass(frozen=True, slots=True)
class ValidationStep:
    """`done` of `total` images have been judged after this epoch; `eta` as in StepDone."""

    epoch: int
    epochs: int
    done: int
    total: int
    eta: float | None


@dataclass(frozen=True, slots=True)
class EpochDone:
    """An epoch is trained and validated; `model` is in that epoch's state until the next event is asked for.

    Attributes:
        row: the epoch's line of the history.
        improved: it is the best epoch so far.
        model: what was validated and is to be kept: the trained model itself, or the average of its weights.
        state: the training as it now is; `fit` can continue from there.
    """

    row: Row
    improved: bool
    model: Classifier
    state: TrainingState


class Diverged(ArithmeticError):
    """A loss or a weight is no longer a finite number.

    Attributes:
        images: row numbers in the data's source (`Split.indices`) of the batch whose loss it was; empty for weights.
    """

    def __init__(self, message: str, images: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.images = images
