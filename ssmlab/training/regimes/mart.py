"""MART (Wang et al. 2020, Algorithm 1): adversarial training that gives misclassified images more weight.

    loss = BCE(f(x_adv), y) + beta KL(p(x) || p(x_adv)) (1 - p_y(x)),
    BCE  = -log p_y(x_adv) - log(1 - max_{k != y} p_k(x_adv))

Where we differ: the attack starts where the params say; in the published code it starts at x + 0.001 N(0, 1). Both
logarithms are computed from logits, so they do not need the small constants of the published code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssmlab.params import TrainParams
from ssmlab.training.adversary import pgd_steps
from ssmlab.training.attack import Attack
from ssmlab.training.events import BatchResult, count_right
from ssmlab.training.regimes.base import Learner, Regime


class Mart(Regime):
    """The loss above, on clean images and PGD's adversarial images."""

    def __init__(self, learner: Learner, params: TrainParams) -> None:
        super().__init__(learner, params)
        assert params.mart is not None
        self.beta = params.mart.beta

    def step(self, x: Tensor, y: Tensor, attack: Attack) -> BatchResult:
        x_adv = pgd_steps(self.target(), x, y, attack, self.learner.generator)
        clean, attacked = self.model(x), self.model(x_adv)  # (B, classes) each
        loss = mart_loss(clean, attacked, y, self.beta)
        self.learner.descend(loss)
        return BatchResult(loss.item(), len(y), count_right(clean, y), count_right(attacked, y))


def mart_loss(clean: Tensor, attacked: Tensor, y: Tensor, beta: float) -> Tensor:
    """The loss above for clean and attacked logits (B, classes), y (B,); mean over the batch."""
    p, q = clean.log_softmax(1), attacked.log_softmax(1)  # (B, classes) each
    label = y.unsqueeze(1)  # (B, 1); unlike a mask, gathering by index does not make a GPU wait for the CPU
    runner_up = attacked.scatter(1, label, -torch.inf).argmax(1, keepdim=True)  # (B, 1)
    boosted = -q.gather(1, label) - q.scatter(1, runner_up, -torch.inf).logsumexp(1, keepdim=True)  # (B, 1)
    moved = (p.exp() * (p - q)).sum(1, keepdim=True)  # (B, 1)
    return (boosted + beta * moved * (1.0 - p.gather(1, label).exp())).mean()
