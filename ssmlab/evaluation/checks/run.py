"""All checks of one model. docs/evaluation.md has the table of what raises which."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssmlab.core.seeds import seed_of
from ssmlab.evaluation.attacks import attack_defaults, forked_generators
from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.checks.behaviour import behaviour_checks
from ssmlab.evaluation.checks.binarisation import binarisation_check
from ssmlab.evaluation.checks.finding import finding
from ssmlab.evaluation.checks.gradients import gradient_checks
from ssmlab.evaluation.checks.strength import Attacked, strength_checks
from ssmlab.evaluation.plan import UNUSUAL_SHARE, largest_eps
from ssmlab.evaluation.results import Check
from ssmlab.evaluation.victim import Victim

IMAGES = 64  # more would find rarer faults and cost every evaluation more


def check_model(
    victim: Victim, live: nn.Module, x: Tensor, y: Tensor, ball: Ball, classes: int, seed: int, binarisation: int = 0
) -> tuple[Check, ...]:
    """Check whether numbers on this model can be taken at face value.

    Args:
        victim: the model as it is attacked; live: as it was given, in eval mode.
        x: (N, C, H, W) in [0, 1]; y: (N,); of which the first are looked at.
        ball: that the model is attacked in; radius 0 leaves out the checks that attack.
        binarisation: on how many images the binarisation test is made.

    Raises:
        UserError: the binarisation test was asked for, and the model has no linear layer at its end.
    """
    more, x, y = x[:binarisation], x[:IMAGES], y[:IMAGES]
    generator = torch.Generator().manual_seed(seed_of(seed, "checks"))
    grey = UNUSUAL_SHARE * largest_eps(ball.norm, x[0].numel())
    question = "; was it meant in 255ths?" if ball.norm == "linf" else ""
    sentence = f"eps is {ball.eps:g}: beyond {grey:.3g} every image can be made uniformly grey{question}"
    found = [finding("eps", ball.eps, grey, sentence)]
    with forked_generators(), attack_defaults():
        torch.manual_seed(seed_of(seed, "checks of random models"))
        found += behaviour_checks(victim, live, x)
        right = victim.is_right(x, y)
        if right.any():
            found += gradient_checks(victim, x[right], y[right], generator)
            if ball.eps > 0.0:
                found += strength_checks(Attacked(victim, x[right], y[right], generator), ball, classes)
        if binarisation and ball.eps > 0.0:
            found.append(binarisation_check(live, more, ball, seed, victim.dtype))
    return tuple(found)
