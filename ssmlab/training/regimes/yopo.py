"""YOPO-m-n ("You Only Propagate Once", Zhang et al. 2019, Algorithm 1): n steps of the attack for one propagation.

The classifier is trunk(stem(x)). Each of m full propagations gives p, the gradient with respect to the stem's output h,
and the gradient of all weights; n steps then raise <p, stem(x_adv)> through the stem alone. The weights take one step
with the mean of their m gradients.

Where we differ: the published code has one optimiser for the stem and one for the rest and adds to the stem's gradient
that of <p, stem(x_adv)> where the n steps ended; we have one optimiser over disjoint groups and the gradients of the m
propagations alone, which are the chain rule's. It sums them, we take the mean (which makes hardly any difference to
AdamW). It always starts anywhere in the ball; here the attack's `random_start` decides.

Our stem is linear in x, so that the n steps have one direction: for L-inf they are exactly one step of n alpha.
"""

from __future__ import annotations

from torch import Tensor

from ssmlab.params import TrainParams
from ssmlab.training.adversary import ModelLike, ascend, starting_point
from ssmlab.training.attack import Attack
from ssmlab.training.events import BatchResult, count_right
from ssmlab.training.regimes.base import Learner, Regime


class Yopo(Regime):
    """One update from m propagations; its result is that of the last point propagated through the whole model."""

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
    """The attack's steps from `x_adv`, raising <p, stem(x_adv)> with p (B, L, D) held fixed."""
    return ascend(stem, x, p, x_adv, attack, lambda h, p: (h * p).sum())
