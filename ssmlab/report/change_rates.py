"""The change rate of an error: the factor by which a component changes it, after the component divided by before.

1 means no change. Three measures have one: rho does not depend on the scale of the features, KL and MSE do.
"""

from __future__ import annotations

from itertools import pairwise
from math import nan, prod
from typing import NamedTuple

from ssmlab.probes.results import CheckpointProbes, ErrorLadder, LadderStep

# In the order from the image to the head; a model has only some of them.
COMPONENTS = (
    "embedding",
    "norm",
    "convolution",
    "mixer",
    "pointwise",
    "AdS",
    "attention",
    "gated attention",
    "gate",
    "output",
    "feed-forward",
    "residual",
)


class ChangeRates(NamedTuple):
    """The factors by which the three measures of an error change; NaN where the measure was 0 before."""

    rho: float
    kl: float
    mse: float


def loss_ladder(found: CheckpointProbes) -> ErrorLadder | None:
    """The error ladder of the loss attack on test images; None if the attack changed no image."""
    return next((each for each in found.ladders if (each.attack, each.split) == ("loss", "test")), None)


def change_rates(ladder: ErrorLadder, component: str) -> ChangeRates | None:
    """The product of the change rates of all components of one kind; None without any."""
    there = [rates_between(*pair) for pair in pairwise(ladder.steps) if pair[1].component == component]
    if not there:
        return None
    rho, kl, mse = (prod(values) for values in zip(*there, strict=True))
    return ChangeRates(rho, kl, mse)


def total_rates(ladder: ErrorLadder) -> ChangeRates:
    """The change rates of all components together, from the tokens to the output of the last layer."""
    return rates_between(ladder.steps[0], ladder.steps[-1])


def rates_between(before: LadderStep, after: LadderStep) -> ChangeRates:
    """The change rates from one step of a ladder to another."""
    return ChangeRates(quotient(after.rho, before.rho), quotient(after.kl, before.kl), quotient(after.mse, before.mse))


def quotient(after: float, before: float) -> float:
    return after / before if before > 0 else nan
