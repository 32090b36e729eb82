"""TRADES (Zhang et al. 2019, Algorithm 1): clean cross entropy plus beta times how much an attack changes p.

    loss = CE(f(x), y) + beta KL(p(x) || p(x_adv)),     x_adv maximises the same KL inside the ball

Where we differ: the published code computes p(x) again in every step of the attack; it is constant there, so we compute
it once per batch. The published start x + 0.001 N(0, 1) may lie outside [0, 1] or a small ball; we project it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ssmlab.params import TrainParams
from ssmlab.training.adversary import ModelLike, ascend, project
from ssmlab.training.attack import Attack
from ssmlab.training.awp import awp_of_epoch, perturbed_weights
from ssmlab.training.events import BatchResult, count_right
from ssmlab.training.regimes.base import Learner, Regime
from ssmlab.training.sharding import draw_normal

NOISE = 0.001  # as in the published code; at x itself the KL has its minimum, so its gradient is zero


class Trades(Regime):
    """The loss above, at perturbed weights if the params have `awp`; label smoothing applies to the clean part."""

    def __init__(self, learner: Learner, params: TrainParams) -> None:
        super().__init__(learner, params)
        assert params.trades is not None
        self.beta, self.params = params.trades.beta, params
        self.begin_epoch(0)

    def begin_epoch(self, epochs_done: int) -> None:
        self.awp = awp_of_epoch(self.params.awp, epochs_done)

    def step(self, x: Tensor, y: Tensor, attack: Attack) -> BatchResult:
        x_adv = trades_attack(self.model.freeze(), x, attack, self.learner.generator)
        with perturbed_weights(self.model, self.awp, self.objective, x, y, x_adv):
            loss, clean, attacked = self.objective(x, y, x_adv)
            self.learner.backward(loss)
        self.learner.update()
        return BatchResult(loss.item(), len(y), count_right(clean, y), count_right(attacked, y))

    def objective(self, x: Tensor, y: Tensor, x_adv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The loss (), and the clean and the attacked logits (B, classes)."""
        clean, attacked = self.model(x), self.model(x_adv)  # (B, classes) each
        p = clean.softmax(1).clamp(min=torch.finfo(clean.dtype).tiny)  # where p is 0, p log p has no finite gradient
        loss = self.cross_entropy(clean, y) + self.beta * divergence(attacked, p)
        return loss, clean, attacked


def trades_attack(model: ModelLike, x: Tensor, attack: Attack, generator: torch.Generator) -> Tensor:
    """Images in the attack's ball that the model gives class probabilities far from those of x (B, ...)."""
    with torch.no_grad():
        p = model(x).softmax(1)  # (B, classes)
    noise = draw_normal(x.shape, generator, x.dtype).to(x.device)
    near = project(x + NOISE * noise, x, attack.eps, attack.norm)
    return ascend(model, x, p, near, attack, divergence)


def divergence(logits: Tensor, p: Tensor) -> Tensor:
    """KL(p || softmax(logits)), both (B, classes), mean over the batch."""
    return F.kl_div(logits.log_softmax(1), p, reduction="batchmean")
