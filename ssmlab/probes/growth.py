"""Fits the growth of an error along a sequence by one of three laws, with a confidence interval.

e (images, T): the error at T distances tau. For every image, a line with its own parameters is fitted to log e:

    bounded      log e = a
    power        log e = a + r log tau
    exponential  log e = a + r tau

The law with the smallest AICc over all images is chosen, with one variance for all images (Hurvich and Tsai 1989). The
rate r is the mean over images with Student's 95% interval. Images are independent, but the distances within an image
are not, so an interval from the residuals would be too narrow. The error counts as growing exponentially only if that
law is chosen and the interval of its rate is above 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ssmlab.probes.results import GrowthFit, Law, Trend

Array = NDArray[np.float64]
LEAST_DISTANCES = 6
SMALLEST = 1e-12  # share of an image's largest error; smaller errors are rounding
# Mean square of residuals; a smaller one counts as exact, and then only the number of parameters matters.
NO_RESIDUAL = 1e-20


def fit_growth(errors: Array, distances: Array) -> GrowthFit | None:
    """Fit a law to errors (images, T) at distances (T,) > 0 in ascending order.

    Only distances before the first one at which some image has no error are used. None if there are fewer than 6 such
    distances, or fewer than 2 images.
    """
    errors, distances = measurable(errors, distances)
    if len(errors) < 2 or len(distances) < LEAST_DISTANCES:
        return None
    logs = np.log(errors)
    slopes: dict[Law, Array] = {}
    aicc: dict[Law, float] = {}
    left: dict[Law, float] = {}
    laws: dict[Law, Array | None] = {"bounded": None, "power": np.log(distances), "exponential": distances}
    for law, along in laws.items():
        slopes[law], residuals = lines(logs, along)
        left[law] = float(np.mean(residuals**2))
        aicc[law] = corrected_aic(left[law], logs.size, len(logs) * (1 if along is None else 2) + 1)
    best = min(aicc, key=lambda law: aicc[law])
    rate, low, high = mean_interval(slopes["exponential" if best == "bounded" else best])
    return GrowthFit(
        law=best,
        aicc=aicc,
        rate=rate,
        low=low,
        high=high,
        residual=left[best] ** 0.5,
        trend=trend_of(best, low, high),
    )


def measurable(errors: Array, distances: Array) -> tuple[Array, Array]:
    """The errors and distances before the first one at which an error is not above rounding, or not finite."""
    with np.errstate(invalid="ignore"):
        there = np.isfinite(errors) & (errors > SMALLEST * np.nanmax(errors, axis=1, keepdims=True, initial=0.0))
    usable = there.all(axis=0)
    end = len(usable) if usable.all() else int(np.argmin(usable))
    return errors[:, :end], distances[:end]


def lines(logs: Array, along: Array | None) -> tuple[Array, Array]:
    """Least-squares slopes (images,) and residuals (images, T) of logs (images, T); slopes are 0 if along is None."""
    centred = logs - logs.mean(axis=1, keepdims=True)
    if along is None:
        return np.zeros(len(logs)), centred
    steps = along - along.mean()
    slopes = centred @ steps / (steps @ steps)
    return slopes, centred - slopes[:, None] * steps


def corrected_aic(mean_square: float, count: int, parameters: int) -> float:
    """AICc of a Gaussian fit to `count` numbers; the number of parameters includes the variance."""
    correction = 2 * parameters * (parameters + 1) / (count - parameters - 1)
    return float(count * np.log(max(mean_square, NO_RESIDUAL)) + 2 * parameters + correction)


def mean_interval(values: Array) -> tuple[float, float, float]:
    """The mean of 2 or more values and the ends of its 95% Student interval."""
    mean, half = values.mean(), stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values))
    return float(mean), float(mean - half), float(mean + half)


def trend_of(law: Law, low: float, high: float) -> Trend:
    """The trend of a law if the interval of its rate excludes 0; else "bounded"."""
    if law == "bounded" or low <= 0.0 <= high:
        return "bounded"
    if low > 0.0:
        return "grows exponentially" if law == "exponential" else "grows as a power"
    return "fades exponentially" if law == "exponential" else "fades as a power"
