"""Eps warm-up: the training adversary grows from nothing to its full strength.

At full strength from the first step a small model may never leave chance level: which learning rates and batch sizes
escape it differs from model to model, so that a comparison without warm-up measures the optimiser's luck. A growing eps
is the simplest curriculum of Cai et al. 2018 ("Curriculum adversarial training") and common since Gowal et al. 2018.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from ssmlab.params import AdversaryParams
from ssmlab.params.quantity import Quantity


def warmed_up(adversary: AdversaryParams, steps: int, start: int = 0) -> Iterator[AdversaryParams]:
    """The adversary of every training step t = start, start + 1, ...: eps and alpha times min(1, t / steps), endlessly.

    With `steps` 0 it is the whole adversary from the start.
    """
    for step in count(start):
        yield adversary if step >= steps else scaled(adversary, step / steps)


def scaled(adversary: AdversaryParams, factor: float) -> AdversaryParams:
    """The adversary with eps and alpha multiplied by `factor` in [0, 1]; steps and random start stay."""
    eps, alpha = (Quantity(float(value) * factor) for value in (adversary.eps, adversary.alpha))
    return adversary.model_copy(update={"eps": eps, "alpha": alpha})
