"""What a run's history says about whether its numbers are those of a finished training that could have overfitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ssmlab.analysis.format import plural
from ssmlab.artifacts.history import Row

TAIL = 0.2  # the share of the epochs in which a finished training should not improve any more
RISE = 0.01  # more robust validation accuracy than this over the tail means that it still does
LATEST_BEST = 0.7  # robust overfitting shows only where the best epoch lies in this first share of the epochs
LEAST_GAP = 0.10  # and where robust accuracy on training images is this much above that on validation images


@dataclass(frozen=True)
class TrainingRecord:
    """The history of one run, in numbers.

    Attributes:
        done, asked: epochs.
        rise: how much robust validation accuracy rose over the last fifth of the epochs, as a fraction.
        gap: robust accuracy on training images minus that on validation images, at the last epoch, as a fraction; None
            where the history does not have it.
    """

    done: int
    asked: int
    rise: float
    gap: float | None

    @classmethod
    def of(cls, rows: Sequence[Row], asked: int) -> TrainingRecord:
        """The record of a history with at least one row; `asked` counts where the history does not say it itself."""
        last = rows[-1]
        tail = max(1, round(TAIL * len(rows)))
        earlier = rows[max(0, len(rows) - 1 - tail)]
        gap = None if last.train_eval_robust is None else last.train_eval_robust - last.val_robust
        return cls(done=last.epoch, asked=last.epochs or asked, rise=last.val_robust - earlier.val_robust, gap=gap)

    def unfinished(self) -> str | None:
        """Why no claim should stand on this run, in half a sentence; None where one may."""
        if self.done < self.asked:
            return f"was cut short (epoch {self.done} of {self.asked})"
        if self.rise > RISE:
            tail = max(1, round(TAIL * self.done))
            points = f"{100 * self.rise:+.1f} points of robust validation accuracy"
            return f"was still rising ({points} in its last {tail} {plural('epoch', tail)})"
        return None

    def cannot_show_overfitting(self, best_epoch: int) -> str | None:
        """Why this run cannot show robust overfitting, in half a sentence; None where it can."""
        if best_epoch > LATEST_BEST * self.done:
            return f"has its best epoch at {best_epoch} of {self.done}, too late to fall from it"
        if self.gap is None:
            return "has no robust accuracy on training images in its history"
        if self.gap < LEAST_GAP:
            return f"is only {100 * self.gap:.1f} points better on training than on validation images"
        return None
