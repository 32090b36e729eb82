"""What a training reports while it goes on."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ssmlab.artifacts.history import Row
from ssmlab.nets.classifier import Classifier
from ssmlab.training.state import State


@dataclass(frozen=True, slots=True)
class Batch:
    """What a regime saw of one batch, or of several together.

    Attributes:
        loss: mean over the images, each before the step it led to.
        images: how many.
        clean, robust: how many of them the model had right, clean or attacked; None if the regime does not look.
    """

    loss: float
    images: int
    clean: int | None
    robust: int | None

    def joined(self, other: Batch) -> Batch:
        """Both as one: losses averaged by their images, counts added."""
        images = self.images + other.images
        return Batch(
            loss=(self.loss * self.images + other.loss * other.images) / images,
            images=images,
            clean=None if self.clean is None or other.clean is None else self.clean + other.clean,
            robust=None if self.robust is None or other.robust is None else self.robust + other.robust,
        )

    @property
    def clean_accuracy(self) -> float | None:
        """In [0, 1]; None if the regime does not look."""
        return None if self.clean is None else self.clean / self.images

    @property
    def robust_accuracy(self) -> float | None:
        """In [0, 1]; None if the regime does not look."""
        return None if self.robust is None else self.robust / self.images


def correct(logits: Tensor, y: Tensor) -> int:
    """How many of the logits (B, classes) are highest at their label y (B,)."""
    return int((logits.argmax(dim=1) == y).sum())


@dataclass(frozen=True, slots=True)
class StepDone:
    """One optimiser step is done.

    Attributes:
        epoch, epochs, step, steps: both from 1; steps are those of the whole training.
        loss: mean over the epoch's images so far.
        clean, robust: accuracies in [0, 1]; the one the regime sees is over the epoch's images so far, the other is
            the last validation's, None before the first.
        images: training images so far, in all epochs; one that is replayed counts every time.
        images_per_second: over the epoch so far.
        eta: seconds until training ends, going by the time it has taken so far; None while nobody can say.
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
    """`done` of `total` validation images of this epoch have been judged; `eta` as in StepDone."""

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
        state: the training as it now is; `fit` goes on from there.
    """

    row: Row
    improved: bool
    model: Classifier
    state: State


class Diverged(ArithmeticError):
    """A loss or a weight is no longer a finite number.

    Attributes:
        images: row numbers in the data's source (`Split.indices`) of the batch whose loss it was; empty for weights.
    """

    def __init__(self, message: str, images: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.images = images
