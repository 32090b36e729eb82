"""The points of the curves: one measure of a run or group over epochs, steps or time. Needs no Textual."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from ssmlab.artifacts.history import Row as Epoch
from ssmlab.tui.look import RunView

AXES = ("epoch", "step", "time")
SMOOTHING = (1, 3, 7, 15)  # epochs in the moving mean


@dataclass(frozen=True)
class CurveMeasure:
    """A measure of every epoch.

    Attributes:
        value: returns its value for an epoch, or None.
        log: whether it is drawn on a log scale.
        percent: whether it is drawn from 0 to 100.
    """

    key: str
    title: str
    value: Callable[[Epoch], float | None]
    log: bool = False
    percent: bool = False


def in_percent(value: float | None) -> float | None:
    """An accuracy in percent."""
    return None if value is None else 100 * value


def train_robust(row: Epoch) -> float | None:
    """Robust accuracy in percent on training images: measured like the validation if known, else during training."""
    return in_percent(row.train_robust if row.train_eval_robust is None else row.train_eval_robust)


MEASURES = {
    measure.key: measure
    for measure in (
        CurveMeasure("clean", "clean accuracy %", lambda row: in_percent(row.val_clean), percent=True),
        CurveMeasure("robust", "robust accuracy %", lambda row: in_percent(row.val_robust), percent=True),
        CurveMeasure("loss", "training loss (log)", lambda row: row.train_loss, log=True),
        CurveMeasure("val_loss", "validation loss under attack (log)", lambda row: row.val_robust_loss, log=True),
        CurveMeasure("lr", "learning rate (log)", lambda row: row.lr, log=True),
        CurveMeasure("train", "robust accuracy % on training images", train_robust, percent=True),
    )
}


@dataclass(frozen=True)
class Curve:
    """One line of a plot.

    Attributes:
        name: name of the run or group.
        colour: `#rrggbb`.
        marker: one character.
        x, y: points, sorted by x.
        low, high: one standard deviation below and above `y`; empty for a single run.
        best: the x of the run's best epoch by its own selection rule; None for groups and if it is unknown.
    """

    name: str
    colour: str
    marker: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    best: float | None = None

    def at(self, x: float) -> float | None:
        """The value at the point nearest to `x`; None outside the curve's range."""
        if not self.x or not self.x[0] <= x <= self.x[-1]:
            return None
        right = min(bisect_left(self.x, x), len(self.x) - 1)
        left = max(right - 1, 0)
        return self.y[left] if abs(self.x[left] - x) < abs(self.x[right] - x) else self.y[right]


def positions(rows: Sequence[Epoch], axis: str) -> list[float]:
    """The x of each epoch: its number, its step, or the seconds of training up to its end."""
    if axis == "epoch":
        return [float(row.epoch) for row in rows]
    if axis == "step":
        return [float(row.step) for row in rows]
    total, found = 0.0, []
    for row in rows:
        total += row.seconds
        found.append(total)
    return found


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """Centred moving means over `window` values, with fewer values at the ends, so that curves are not shifted."""
    if window == 1:
        return list(values)
    half = window // 2
    return [fmean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]


def run_curve(
    view: RunView, measure: CurveMeasure, axis: str, window: int, colour: str, marker: str, best: bool = True
) -> Curve:
    """The curve of one run."""
    rows = view.status.rows
    points = [
        (x, value)
        for x, row in zip(positions(rows, axis), rows, strict=True)
        if (value := measure.value(row)) is not None and math.isfinite(value) and not (measure.log and value <= 0)
    ]
    y = smoothed([value for _, value in points], window)
    at_best = next(
        (x for x, row in zip(positions(rows, axis), rows, strict=True) if row.epoch == view.status.best_epoch), None
    )
    return Curve(view.name, colour, marker, doubles(x for x, _ in points), doubles(y), best=at_best if best else None)


def doubles(values: Iterable[float]) -> array[float]:
    """The values in 8 bytes each; as objects they take 32, and six curves of a run would be most of its memory."""
    return array("d", list(values))  # from a list exactly as long as needed


def group_curve(
    name: str, members: Sequence[RunView], measure: CurveMeasure, axis: str, window: int, colour: str, marker: str
) -> Curve:
    """The mean of several runs over the epochs that all of them have reached, with a band of one standard deviation."""
    curves = [run_curve(view, measure, axis, window, colour, marker, best=False) for view in members]
    curves = [curve for curve in curves if curve.y]
    length = min((len(curve.y) for curve in curves), default=0)
    if len(curves) < 2 or not length:
        return curves[0] if curves else Curve(name, colour, marker, (), ())
    count = len(curves)
    x = doubles(sum(values) / count for values in zip(*(curve.x[:length] for curve in curves), strict=True))
    columns = list(zip(*(curve.y[:length] for curve in curves), strict=True))
    mean = doubles(sum(values) / count for values in columns)
    std = [sample_deviation(values, middle) for values, middle in zip(columns, mean, strict=True)]
    low = doubles(m - s for m, s in zip(mean, std, strict=True))
    high = doubles(m + s for m, s in zip(mean, std, strict=True))
    return Curve(name, colour, marker, x, mean, low, high)


def sample_deviation(values: Sequence[float], mean: float) -> float:
    """The standard deviation of a sample with this mean; the module `statistics` is exact, but slow."""
    return math.sqrt(sum([(value - mean) ** 2 for value in values]) / (len(values) - 1))


def thinned(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """Roughly at most `most` points, including extremes: the first, lowest, highest and last point of each part."""
    if len(points) <= most:
        return list(points)
    length = math.ceil(len(points) / max(1, most // 4))
    kept: list[tuple[float, float]] = []
    for start in range(0, len(points), length):
        stretch = points[start : start + length]
        extremes = (min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1]))
        kept += sorted({stretch[0], *extremes, stretch[-1]})
    return kept
