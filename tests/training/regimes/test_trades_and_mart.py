"""TRADES and MART against their formulas, other code, and standard training."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torchattacks

from ssmlab.params import TrainParams
from ssmlab.training.adversary import pgd
from ssmlab.training.regimes.mart import mart_loss
from ssmlab.training.regimes.trades import divergence, trades_attack
from tests.training.regimes.material import (
    CLASSES,
    attack_of,
    close_weights,
    data,
    seeded,
    settings_of,
)
from tests.training.steps import regime_of, run


def test_trades_without_its_robust_part_is_standard_training(new_model: Any, shared: TrainParams) -> None:
    ours, theirs = new_model(), new_model()
    trades = regime_of(settings_of(shared, "trades", trades={"beta": 0.0}), ours)
    standard = regime_of(settings_of(shared, "standard"), theirs)
    for batch in data():
        (result,), (reference,) = run(trades, [batch], attack_of()), run(standard, [batch], attack_of())
        assert result.loss == pytest.approx(reference.loss, rel=1e-6)
        assert (result.right_clean, result.images) == (reference.right_clean, reference.images)
        close_weights(ours, theirs)


def test_the_trades_attack_is_that_of_torchattacks(new_model: Any) -> None:
    """torchattacks.TPGD is TRADES' attack, computed anew in every step."""
    model = new_model().eval()
    (x, _), *_ = data()
    ours = trades_attack(model.freeze(), x, attack_of(eps=0.2, alpha=0.05, steps=5), seeded(5))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        theirs = torchattacks.TPGD(model, eps=0.2, alpha=0.05, steps=5)(x, None)
    inside = (x > 0) & (x < 1)  # at the border our start is projected, and torchattacks' is not
    agree = ((ours - theirs).abs() < 1e-5)[inside]
    assert agree.float().mean() > 0.99  # a start that differs at the border may turn a sign near zero
    assert (ours - x).abs().max() > 0.15
    with torch.no_grad():
        p = model(x).softmax(1)
        near = divergence(model(pgd(model, x, p, attack_of(), seeded(), divergence)), p)
        assert divergence(model(ours), p) > near > 0


def test_trades_has_the_loss_and_the_gradient_of_its_formula(new_model: Any, shared: TrainParams) -> None:
    """The gradient goes through the clean distribution too."""
    model, reference, (batch, *_) = new_model(), new_model(), data()
    x, y = batch
    x_adv = trades_attack(model.freeze(), x, attack_of(), seeded())
    p, q = reference(x).softmax(1), reference(x_adv).softmax(1)
    by_hand = -p[range(len(y)), y].log().mean() + 6 * (p * (p / q).log()).sum(1).mean()
    by_hand.backward()
    (seen,) = run(regime_of(settings_of(shared, "trades"), model), [batch], attack_of())
    assert seen.loss == pytest.approx(by_hand.item(), rel=1e-4)
    assert (seen.right_clean, seen.right_robust) == ((p.argmax(1) == y).sum(), (q.argmax(1) == y).sum())
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-6)


def test_trades_has_a_gradient_where_clean_probabilities_are_0(new_model: Any, shared: TrainParams) -> None:
    """p log p has no finite slope at p = 0: the weights of a very sure model became NaN."""
    model = new_model()
    with torch.no_grad():
        model.head.weight.mul_(1e4)
    (x, y), *_ = data()
    assert (model(x).softmax(1) == 0).any()
    run(regime_of(settings_of(shared, "trades"), model), [(x, y)], attack_of())
    assert all(weight.isfinite().all() for weight in model.parameters())


def test_the_mart_loss_is_its_formula() -> None:
    clean, attacked = torch.randn(2, 6, CLASSES, generator=seeded(), dtype=torch.float64)
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    total = 0.0
    for p, q, label in zip(clean.softmax(1), attacked.softmax(1), y.tolist(), strict=True):
        wrong = max(float(q[k]) for k in range(CLASSES) if k != label)
        moved = sum(float(p[k]) * math.log(p[k] / q[k]) for k in range(CLASSES))
        total += -math.log(q[label]) - math.log(1 - wrong) + 5 * moved * (1 - float(p[label]))
    assert mart_loss(clean, attacked, y, 5.0).item() == pytest.approx(total / 6, rel=1e-10)
    inputs = (clean.requires_grad_(), attacked.requires_grad_())
    assert torch.autograd.gradcheck(lambda p, q: mart_loss(p, q, y, 5.0), inputs)


def test_mart_has_a_gradient_where_probabilities_are_0_and_1() -> None:
    attacked = torch.tensor([[200.0, -200.0, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    total = mart_loss(torch.tensor([[200.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), attacked, torch.tensor([1, 0]), 5.0)
    total.backward()
    assert total.isfinite() and attacked.grad is not None
    assert attacked.grad.isfinite().all() and attacked.grad[0].abs().sum() > 0.5
