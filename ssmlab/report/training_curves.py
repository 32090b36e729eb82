"""The curves of a study's trainings as arrays: made once, and drawn in every form of a figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from ssmlab.artifacts.history import Row

CurveValues = NDArray[np.float64]  # (epochs,)
CurvePoints = NDArray[np.float64]  # (points, 2): epoch and value
MOST_POINTS = 200  # of a drawn curve: a panel is about 220 pixels wide
CURVE_COLUMNS = ("val_clean", "val_robust", "train_eval_robust", "val_robust_loss")


@dataclass(frozen=True)
class TrainingCurves:
    """A value after every epoch of every run, by run name.

    Attributes:
        clean, robust: accuracies in [0, 1] on the split that selects the best checkpoint.
        gaps: robust accuracy on training images minus robust accuracy on validation images.
        losses: the robust loss on validation images. Like `gaps` it is empty if any epoch of any run lacks the value,
            as in histories of older versions.
    """

    clean: Mapping[str, CurveValues]
    robust: Mapping[str, CurveValues]
    gaps: Mapping[str, CurveValues]
    losses: Mapping[str, CurveValues]

    @classmethod
    def of(cls, histories: Iterable[tuple[str, Sequence[Row]]]) -> TrainingCurves:
        """The curves of (name of a run, rows of its history.csv) for every run; the rows are not kept."""
        columns = {run: table_of_rows(rows) for run, rows in histories}  # (4, epochs) each
        clean, robust = ({run: each[i] for run, each in columns.items()} for i in (0, 1))
        if any(np.isnan(each[2:]).any() for each in columns.values()):
            return cls(clean, robust, {}, {})
        gaps = {run: each[2] - each[1] for run, each in columns.items()}
        return cls(clean, robust, gaps, {run: each[3] for run, each in columns.items()})


def table_of_rows(rows: Sequence[Row]) -> NDArray[np.float64]:
    """The columns of `CURVE_COLUMNS`, (4, epochs); NaN where a row has no value, since a history has no other NaN."""
    return np.array([list(map(attrgetter(name), rows)) for name in CURVE_COLUMNS], dtype=np.float64)  # (4, epochs)


def epochs_per_point(curves: Mapping[str, CurveValues]) -> int:
    """How many epochs each drawn point stands for: one, unless the longest curve has more than `MOST_POINTS`."""
    return -(-max(map(len, curves.values())) // MOST_POINTS)


def curve_points(values: CurveValues, size: int) -> CurvePoints:
    """The points of a curve: each is the mean of `size` epochs; the last one may have fewer."""
    starts = np.arange(0, len(values), size)  # (points,)
    counts = np.diff(np.append(starts, len(values)))  # (points,)
    both = np.stack((np.arange(1, len(values) + 1), values))  # (2, epochs)
    return (np.add.reduceat(both, starts, axis=1) / counts).T  # (points, 2)
