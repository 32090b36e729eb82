"""Eps warm-up: the training attack grows from nothing to its full strength.

At full strength from the first step a small model may never leave chance level: which learning rates and batch sizes
escape it differs from model to model, so that a comparison without warm-up measures the optimiser's luck. A growing eps
is the simplest curriculum of Cai et al. 2018 ("Curriculum adversarial training") and common since Gowal et al. 2018.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from ssmlab.training.attack import Attack


def warmed_up(attack: Attack, steps: int, first: int = 0) -> Iterator[Attack]:
    """The attack of every optimiser step t = first, first + 1, ...: eps and alpha times min(1, t / steps), endlessly.

    With `steps` 0 it has its full strength from the beginning.
    """
    for step in count(first):
        yield attack if step >= steps else attack.scaled(step / steps)
