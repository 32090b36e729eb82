"""PGD adversarial training (Madry et al. 2018): the loss on adversarial images of PGD against the current model."""

from __future__ import annotations

from torch import Tensor

from ssmlab.params import TrainParams
from ssmlab.training.adversary import pgd_steps
from ssmlab.training.attack import Attack
from ssmlab.training.awp import awp_of_epoch, perturbed_weights
from ssmlab.training.events import BatchResult, count_right
from ssmlab.training.regimes.base import Learner, Regime


class PgdAt(Regime):
    """Cross entropy on adversarial images, at perturbed weights if the params have `awp`.

    The attack runs on a frozen copy of the model, made for every batch because the weights change. It always increases
    the plain cross entropy, without label smoothing.
    """

    def __init__(self, learner: Learner, params: TrainParams) -> None:
        super().__init__(learner, params)
        self.params = params
        self.begin_epoch(0)

    def begin_epoch(self, epochs_done: int) -> None:
        self.awp = awp_of_epoch(self.params.awp, epochs_done)

    def step(self, x: Tensor, y: Tensor, attack: Attack) -> BatchResult:
        x_adv = pgd_steps(self.target(), x, y, attack, self.learner.generator)
        with perturbed_weights(self.model, self.awp, self.objective, x_adv, y):
            loss, logits = self.objective(x_adv, y)
            self.learner.backward(loss)
        self.learner.update()
        return BatchResult(loss.item(), len(y), right_clean=None, right_robust=count_right(logits, y))

    def objective(self, x_adv: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The loss () and the logits (B, classes)."""
        logits = self.model(x_adv)  # (B, classes)
        return self.cross_entropy(logits, y), logits
