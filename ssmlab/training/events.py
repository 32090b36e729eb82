"""What a training reports while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ssmlab.artifacts.history import Row
from ssmlab.nets.classifier import Classifier
from ssmlab.training.state import TrainingState


@dataclass(frozen=True, slots=True)
class BatchResult:
    """Loss and correct classifications on one batch, or on several together.

    Attributes:
        loss: mean over the images; in training, measured before the optimiser step.
        images: number of images.
        right_clean, right_robust: how many of them were classified right, clean or attacked; None if not measured.
    """

    loss: float
    images: int
    right_clean: int | None
    right_robust: int | None

    def merged_with(self, other: BatchResult) -> BatchResult:
        """The result on both together: losses averaged over the images, counts added."""
        images = self.images + other.images
        return BatchResult(
            loss=(self.loss * self.images + other.loss * other.images) / images,
            images=images,
            right_clean=counted_together(self.right_clean, other.right_clean),
            right_robust=counted_together(self.right_robust, other.right_robust),
        )

    @property
    def clean_accuracy(self) -> float | None:
        return None if self.right_clean is None else self.right_clean / self.images

    @property
    def robust_accuracy(self) -> float | None:
        return None if self.right_robust is None else self.right_robust / self.images


def counted_together(one: int | None, other: int | None) -> int | None:
    """The sum of two counts; None if one of them was not measured."""
    return None if one is None or other is None else one + other


NO_IMAGES = BatchResult(loss=0.0, images=0, right_clean=0, right_robust=0)  # the start of a sum over batches


def count_right(logits: Tensor, y: Tensor) -> int:
    """How many rows of the logits (B, classes) are highest at their label y (B,)."""
    return int((logits.argmax(dim=1) == y).sum())


@dataclass(frozen=True, slots=True)
class StepDone:
    """One optimiser step is done.

    Attributes:
        epoch, epochs, step, steps: epoch and step count from 1; step and steps are of the whole training.
        loss: mean over the epoch's images so far.
        clean, robust: accuracies in [0, 1]. What the regime measures is over the epoch's images so far; what it does
            not measure is from the last validation, None before the first.
        images: training images so far, in all epochs; a replayed image counts every time.
        images_per_second: mean over the epoch so far.
        eta: seconds until training ends, at the mean speed so far; None while that is unknown.
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
    """An epoch is trained and validated; `model` holds that epoch's weights until the next event is requested.

    Attributes:
        row: the epoch's row of the history.
        improved: whether it is the best epoch so far.
        model: the model that was validated and should be saved: the trained one, or the average of its weights.
        state: the training after this epoch; `fit` can continue from it.
    """

    row: Row
    improved: bool
    model: Classifier
    state: TrainingState


class Diverged(ArithmeticError):
    """A loss or a weight is no longer a finite number.

    Attributes:
        images: row numbers in the data's source (`Split.indices`) of the batch with that loss; empty for a weight.
    """

    def __init__(self, message: str, images: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.images = images
