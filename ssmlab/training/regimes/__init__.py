"""One file for each regime; `ssmlab.params.REGIMES` is the table of their names."""

from __future__ import annotations

from ssmlab.core.lookup import named_object
from ssmlab.params import REGIMES, TrainParams
from ssmlab.training.regimes.base import Learner, Regime


def make_regime(learner: Learner, params: TrainParams) -> Regime:
    """The regime that `params` name, on a model with its optimiser."""
    made: Regime = named_object(f"{__name__}.{REGIMES[params.regime].where}")(learner, params)
    return made
