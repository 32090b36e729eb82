"""Eps warm-up: the training attack grows from nothing to its full strength.

With full strength from the first step a small model may never get better than chance. Which learning rates and batch
sizes avoid that differs between models, so a comparison without warm-up would measure the optimiser's luck. A growing
eps is the simplest curriculum of Cai et al. 2018 ("Curriculum adversarial training"), common since Gowal et al. 2018.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from ssmlab.training.attack import Attack


def warmed_up(attack: Attack, steps: int, first: int = 0) -> Iterator[Attack]:
    """The attack of every optimiser step t = first, first + 1, ...: eps and alpha times min(1, t / steps), endlessly.

    With `steps` 0 the attack has full strength from the first step.
    """
    for step in count(first):
        yield attack if step >= steps else attack.scaled(step / steps)
