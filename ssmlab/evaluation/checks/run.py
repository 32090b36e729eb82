"""Runs all checks on one model. docs/evaluation.md has a table of faults and the checks that find them."""

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

IMAGES = 64  # more images would find rarer faults, but slow down every evaluation


def check_model(
    victim: Victim, live: nn.Module, x: Tensor, y: Tensor, ball: Ball, classes: int, seed: int, binarisation: int = 0
) -> tuple[Check, ...]:
    """Check whether the robust accuracies of this model can be trusted.

    Args:
        victim: the attacked model, which may be frozen.
        live: the model as the caller gave it, in eval mode.
        x, y: images (N, C, H, W) in [0, 1] and labels (N,); the checks use the first ones.
        ball: the ball of the evaluation; with radius 0, the checks that attack are left out.
        binarisation: number of images for the binarisation test; 0 for no test.

    Raises:
        UserError: the binarisation test is requested, and the model does not end in a linear layer.
    """
    more, x, y = x[:binarisation], x[:IMAGES], y[:IMAGES]
    generator = torch.Generator().manual_seed(seed_of(seed, "checks"))
    grey = UNUSUAL_SHARE * largest_eps(ball.norm, x[0].numel())
    question = "; should it be divided by 255?" if ball.norm == "linf" else ""
    sentence = f"eps is {ball.eps:g}: above {grey:.3g} every image can become uniformly grey{question}"
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
