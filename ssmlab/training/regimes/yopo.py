"""YOPO-m-n ("You Only Propagate Once", Zhang et al. 2019, Algorithm 1): n attack steps for each full propagation.

The classifier is trunk(stem(x)). Each of m full propagations gives p, the gradient with respect to the stem's output h,
and the gradient of all weights; n attack steps then increase <p, stem(x_adv)> through the stem alone. The weights take
one step with the mean of their m gradients.

Where we differ from the published code:

- It has one optimiser for the stem and one for the rest; we have one optimiser with disjoint groups.
- It adds the gradient of <p, stem(x_adv)> after the n steps to the stem's gradient; we use only the gradients of the m
  propagations, as the chain rule gives them.
- It sums the m gradients; we take the mean, which makes almost no difference to AdamW.
- It always starts at a random point of the ball; here the attack's `random_start` decides.

Our stem is linear in x, so the n steps all have the same direction: for L-inf they equal one step of n alpha.
"""

from __future__ import annotations

from torch import Tensor

from ssmlab.params import TrainParams
from ssmlab.training.adversary import ModelLike, ascend, starting_point
from ssmlab.training.attack import Attack
from ssmlab.training.events import BatchResult, count_right
from ssmlab.training.regimes.base import Learner, Regime


class Yopo(Regime):
    """One update from m propagations; the result it reports is that of the last propagation."""

    def __init__(self, learner: Learner, params: TrainParams) -> None:
        super().__init__(learner, params)
        assert params.yopo is not None
        self.propagations = params.yopo.propagations

    def step(self, x: Tensor, y: Tensor, attack: Attack) -> BatchResult:
        x_adv = starting_point(x, attack, self.learner.generator)
        self.learner.optimizer.zero_grad()
        for _ in range(self.propagations):
            h = self.model.stem(x_adv)  # (B, L, D)
            h.retain_grad()
            logits = self.model.trunk(h)  # (B, classes)
            loss = self.cross_entropy(logits, y)
            (loss / self.propagations).backward()  # type: ignore[no-untyped-call]
            assert h.grad is not None
            x_adv = ascend_stem(self.model.stem, h.grad, x, x_adv, attack)
        self.learner.update()
        return BatchResult(loss.item(), len(y), right_clean=None, right_robust=count_right(logits, y))


def ascend_stem(stem: ModelLike, p: Tensor, x: Tensor, x_adv: Tensor, attack: Attack) -> Tensor:
    """The attack's steps from `x_adv`, which increase <p, stem(x_adv)> for a fixed p (B, L, D)."""
    return ascend(stem, x, p, x_adv, attack, lambda h, p: (h * p).sum())
