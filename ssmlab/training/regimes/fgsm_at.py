"""Single-step adversarial training: noise, then one step up the gradient there.

    FGSM with random start (Wong et al. 2020, Algorithm 3): noise in the ball, alpha 1.25 eps, clipped to the ball.
    N-FGSM (de Jorge et al. 2022): noise of 2 eps, alpha eps, never clipped to the ball.

In both, images stay in [0, 1], also after the noise. N-FGSM's images lie in the ball of radius noise eps + alpha. Both
papers are about L-inf; for L2, noise and step are those of `ssmlab.training.adversary`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ssmlab.params import FgsmAtParams, TrainParams
from ssmlab.training.adversary import ModelLike, input_gradient, project, random_start, steepest_direction
from ssmlab.training.attack import Attack
from ssmlab.training.events import BatchResult, count_right
from ssmlab.training.regimes.base import Learner, Regime


class FgsmAt(Regime):
    """As PGD adversarial training, with an attack of a single step."""

    def __init__(self, learner: Learner, params: TrainParams) -> None:
        super().__init__(learner, params)
        assert params.fgsm is not None
        self.settings = params.fgsm

    def step(self, x: Tensor, y: Tensor, attack: Attack) -> BatchResult:
        x_adv = single_step(self.target(), x, y, attack, self.settings, self.learner.generator)
        logits = self.model(x_adv)  # (B, classes)
        loss = self.cross_entropy(logits, y)
        self.learner.descend(loss)
        return BatchResult(loss.item(), len(y), right_clean=None, right_robust=count_right(logits, y))


def single_step(
    model: ModelLike, x: Tensor, y: Tensor, attack: Attack, settings: FgsmAtParams, generator: torch.Generator
) -> Tensor:
    """Noise of `settings.noise` eps, then one step of alpha; in the ball of radius eps only if `settings.clip`."""
    noisy = random_start(x, settings.noise * attack.eps, generator, attack.norm)
    gradient = input_gradient(model, noisy, y, F.cross_entropy)
    x_adv = noisy + attack.alpha * steepest_direction(gradient, attack.norm)
    return project(x_adv, x, attack.eps, attack.norm) if settings.clip else x_adv.clamp(0.0, 1.0)
