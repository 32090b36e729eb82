"""Decides from a run's history whether its training was finished and whether it could have overfitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ssmlab.artifacts.history import Row
from ssmlab.core.text import plural

TAIL = 0.2  # a finished training no longer improves in this last share of its epochs
RISE = 0.01  # if robust validation accuracy rises by more than this over the tail, the training still improves
LATEST_BEST = 0.7  # robust overfitting is visible only if the best epoch is in this first share of the epochs
LEAST_GAP = 0.10  # and only if robust accuracy on training images exceeds that on validation images by this much


@dataclass(frozen=True)
class TrainingRecord:
    """The history of one run, in numbers.

    Attributes:
        done, asked: epochs trained, and epochs that the settings asked for.
        rise: increase of robust validation accuracy over the last fifth of the epochs, as a fraction.
        gap: robust accuracy on training images minus robust accuracy on validation images at the last epoch, as a
            fraction; None if the history does not contain it.
    """

    done: int
    asked: int
    rise: float
    gap: float | None

    @classmethod
    def of(cls, rows: Sequence[Row], asked: int) -> TrainingRecord:
        """The record of a history with at least one row; `asked` is used if the history lacks that number."""
        last = rows[-1]
        tail = max(1, round(TAIL * len(rows)))
        earlier = rows[max(0, len(rows) - 1 - tail)]
        gap = None if last.train_eval_robust is None else exact_difference(last.train_eval_robust, last.val_robust)
        rise = exact_difference(last.val_robust, earlier.val_robust)
        return cls(done=last.epoch, asked=last.epochs or asked, rise=rise, gap=gap)

    def unfinished(self) -> str | None:
        """Why this run supports no conclusion yet, as the end of a sentence; None if it does."""
        if self.done < self.asked:
            return f"was cut short (epoch {self.done} of {self.asked})"
        if self.rise > RISE:
            tail = max(1, round(TAIL * self.done))
            points = f"{100 * self.rise:+.1f} points of robust validation accuracy"
            return f"was still improving ({points} in its last {tail} {plural('epoch', tail)})"
        return None

    def cannot_show_overfitting(self, best_epoch: int) -> str | None:
        """Why this run cannot show robust overfitting, as the end of a sentence; None if it can."""
        if best_epoch > LATEST_BEST * self.done:
            return f"has its best epoch at {best_epoch} of {self.done}, too late to overfit after it"
        if self.gap is None:
            return "has no robust accuracy on training images in its history"
        if self.gap < LEAST_GAP:
            return f"is only {100 * self.gap:.1f} points better on training than on validation images"
        return None


def exact_difference(after: float, before: float) -> float:
    """after - before of two accuracies, without the rounding error that would put 0.876 - 0.866 above 0.01."""
    return round(after - before, 9)
