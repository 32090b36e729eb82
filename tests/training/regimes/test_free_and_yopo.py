"""FreeAT and YOPO, which update the weights several times a batch, against their algorithms written out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ssmlab.nets.classifier import Classifier
from ssmlab.params import TrainParams
from ssmlab.training.adversary import pgd, starting_point
from ssmlab.training.attack import Attack
from ssmlab.training.regimes.free import CarriedDelta, Free
from ssmlab.training.regimes.yopo import ascend_stem
from tests.training.regimes.material import (
    SHAPE,
    SLACK,
    TinyNet,
    attack_of,
    close_weights,
    data,
    losses,
    optimizer_of,
    same_weights,
    seeded,
    settings_of,
)
from tests.training.steps import regime_of, run


def free_by_hand(
    model: Classifier, batches: list[tuple[Tensor, Tensor]], base: TrainParams, replays: int, eps: float
) -> tuple[list[float], Tensor]:
    """Algorithm 1 as written: two separate gradients, delta as a plain tensor, alpha = eps."""
    optimizer, schedule = optimizer_of(model, base)
    delta = torch.zeros(8, *SHAPE)
    result = []
    model.train()
    for x, y in batches:
        for _ in range(replays):
            x_adv = (x + delta[: len(x)]).clamp(0, 1)
            point = x_adv.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(model(point), y), point)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x_adv), y)
            loss.backward()
            optimizer.step()
            schedule.step()
            delta[: len(x)] = (delta[: len(x)] + eps * gradient.sign()).clamp(-eps, eps)
            result.append(loss.item())
    return result, delta


def free_on(model: Classifier, shared: TrainParams) -> Free:
    regime = regime_of(settings_of(shared, "free"), model)
    assert isinstance(regime, Free)
    return regime


ALGORITHM_1 = Attack(eps=0.1, alpha=0.1, steps=1, random_start=False)


@pytest.mark.parametrize("replays", [1, 3])
def test_a_step_of_free_is_algorithm_1(replays: int, new_model: Any, shared: TrainParams) -> None:
    """With one replay that is FGSM whose start is where the last batch's FGSM ended."""
    ours, theirs = new_model(), new_model()
    free = free_on(ours, shared)
    seen = run(free, data(), ALGORITHM_1, replays)
    by_hand, delta_by_hand = free_by_hand(theirs, data(), shared, replays, 0.1)
    assert losses(seen) == pytest.approx(by_hand, rel=1e-4)
    assert len(seen) == 3 * replays
    close_weights(ours, theirs, atol=1e-5)
    # a gradient near zero may have either sign
    assert ((free.delta.value - delta_by_hand).abs() < SLACK).float().mean() > 0.99


def test_the_first_free_step_is_standard_training(new_model: Any, shared: TrainParams) -> None:
    ours, theirs = new_model(), new_model()
    free = free_on(ours, shared)
    (seen,) = run(free, data()[:1], ALGORITHM_1)
    (reference,) = run(regime_of(settings_of(shared, "standard"), theirs), data()[:1], ALGORITHM_1)
    assert seen.loss == reference.loss
    assert same_weights(ours, theirs)
    assert (free.delta.value.abs() == 0.1).float().mean() > 0.9


def test_delta_is_carried_to_the_next_batch_and_through_a_saved_state(new_model: Any, shared: TrainParams) -> None:
    first = free_on(new_model(), shared)
    run(first, data()[:1], ALGORITHM_1)
    saved = {name: tensor.clone() for name, tensor in first.carried["delta"].state_dict().items()}

    def second_batches(delta: dict[str, Tensor] | None) -> Classifier:
        model = new_model()
        free = free_on(model, shared)
        if delta is not None:
            free.carried["delta"].load_state_dict(delta)
        run(free, data()[1:], ALGORITHM_1)
        return model

    assert same_weights(second_batches(saved), second_batches(saved))
    assert not same_weights(second_batches(saved), second_batches(None))


def test_a_smaller_batch_moves_the_first_rows_of_delta_only() -> None:
    delta = CarriedDelta(8, SHAPE)
    delta.of(torch.zeros(3, *SHAPE)).fill_(1.0)
    assert delta.value[:3].eq(1).all() and delta.value[3:].eq(0).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_yopo_through_a_linear_trunk_is_pgd_through_the_whole(norm: str) -> None:
    """With two classes the gradient to h is a fixed vector times a positive number, which no step length depends on."""
    model = TinyNet(linear=True)
    (x, _), *_ = data()
    y = torch.arange(len(x)) % 2
    strength = attack_of(eps=0.1 if norm == "linf" else 1.0, alpha=0.03, steps=5, norm=norm)
    x_0 = starting_point(x, strength, seeded(4))
    h = model.stem(x_0).detach().requires_grad_()
    (p,) = torch.autograd.grad(F.cross_entropy(model.trunk(h), y), h)
    torch.testing.assert_close(
        ascend_stem(model.stem, p, x, x_0, strength), pgd(model, x, y, strength, seeded(4)), rtol=0, atol=1e-5
    )
    bent = TinyNet(linear=False)  # and through another trunk it is not
    h = bent.stem(x_0).detach().requires_grad_()
    (p,) = torch.autograd.grad(F.cross_entropy(bent.trunk(h), y), h)
    whole = pgd(bent, x, y, strength, seeded(4))
    assert (ascend_stem(bent.stem, p, x, x_0, strength) - whole).abs().max() > 1e-3


def test_yopo_takes_the_mean_gradient_of_its_propagations(new_model: Any, shared: TrainParams) -> None:
    """Two propagations: the weights' gradient is the mean of those at the start and after n steps from there."""
    ours, theirs = new_model(), new_model()
    batch, strength = data()[0], attack_of(steps=2)
    x, y = batch
    (seen,) = run(regime_of(settings_of(shared, "yopo"), ours, seeded(4)), [batch], strength)

    optimizer, schedule = optimizer_of(theirs, shared)
    x_0 = starting_point(x, strength, seeded(4))
    x_1 = pgd(theirs, x, y, replace(strength, steps=1, alpha=0.05), seeded(4))  # a linear stem
    total = (F.cross_entropy(theirs(x_0), y) + F.cross_entropy(theirs(x_1), y)) / 2
    optimizer.zero_grad()
    total.backward()
    optimizer.step()
    schedule.step()
    assert seen.loss == pytest.approx(F.cross_entropy(new_model()(x_1), y).item(), rel=1e-4)
    close_weights(ours, theirs, atol=1e-4)


def test_yopo_1_n_trains_on_the_random_start_whatever_n_is(new_model: Any, shared: TrainParams) -> None:
    """As published: gradients are taken at full propagations, and with m = 1 the only one is at the random start."""
    models = [new_model(), new_model()]
    for model, steps in zip(models, (1, 5), strict=True):
        yopo = regime_of(settings_of(shared, "yopo", yopo={"propagations": 1}), model)
        run(yopo, data(), attack_of(steps=steps))
    assert same_weights(*models)
