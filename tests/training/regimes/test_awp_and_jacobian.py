"""Adversarial weight perturbation and Jacobian regularisation against what they are defined by."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from ssmlab.nets.classifier import Classifier, ssm_parameters
from ssmlab.params import AwpParams, TrainParams
from ssmlab.training.awp import perturbed_parameters, perturbed_weights
from ssmlab.training.events import BatchResult
from ssmlab.training.regimes.jacobian import squared_norm
from tests.training.regimes.material import (
    CLASSES,
    attack_of,
    close_weights,
    data,
    losses,
    same_weights,
    seeded,
    settings_of,
)
from tests.training.steps import regime_of, run


@pytest.mark.parametrize("name", ["pgd_at", "trades"])
def test_awp_with_gamma_zero_changes_nothing(name: str, new_model: Any, shared: TrainParams) -> None:
    def go(gamma: float | None) -> tuple[Classifier, list[BatchResult]]:
        model, awp = new_model(), None if gamma is None else {"gamma": gamma}
        return model, run(regime_of(settings_of(shared, name, awp=awp), model), data(), attack_of())

    (plain, seen), (zero, seen_zero), (some, seen_some) = go(None), go(0.0), go(0.01)
    assert same_weights(plain, zero)
    assert seen == seen_zero
    assert seen_some[0].loss > seen[0].loss  # the loss is that at the perturbed weights
    assert not same_weights(plain, some)


def test_awp_moves_by_gamma_up_the_gradient_and_back_to_the_bit(new_model: Any) -> None:
    model, ((x, y), *_) = new_model(), data()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    F.cross_entropy(model(x), y).backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    moved = {id(parameter) for parameter in perturbed_parameters(model)}
    spared = {id(parameter) for parameter in ssm_parameters(model)}
    assert moved and not moved & spared
    with perturbed_weights(model, AwpParams(gamma=0.02), lambda: (F.cross_entropy(model(x), y),)):
        for name, parameter in model.named_parameters():
            old = before[name]
            step = parameter.detach() - old
            if id(parameter) not in moved:
                assert parameter.dim() < 2 or id(parameter) in spared
                assert torch.equal(parameter, old)
            elif gradients[name].any():
                assert step.norm().item() == pytest.approx(0.02 * old.norm().item(), rel=1e-3)
                assert F.cosine_similarity(step.flatten(), gradients[name].flatten(), dim=0) > 0.999
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert all(torch.equal(parameter.grad, gradients[name]) for name, parameter in model.named_parameters())


def test_the_step_of_awp_does_not_depend_on_the_scale_of_the_loss() -> None:
    layer = torch.nn.Linear(4, 3, bias=False)
    old, way = layer.weight.detach().clone(), torch.randn(3, 4, generator=seeded())
    for scale in (1e-15, 1.0, 1e15):
        with perturbed_weights(layer, AwpParams(gamma=0.1), lambda: (scale * (layer.weight * way).sum(),)):  # noqa: B023
            expected = old + 0.1 * old.norm() * way / way.norm()
            torch.testing.assert_close(layer.weight.detach(), expected)


def test_awp_puts_the_weights_back_when_something_fails(new_model: Any) -> None:
    model, reference, ((x, y), *_) = new_model(), new_model(), data()
    with (
        pytest.raises(RuntimeError, match="out of memory"),
        perturbed_weights(model, AwpParams(gamma=0.1), lambda: (F.cross_entropy(model(x), y),)),
    ):
        assert not same_weights(model, reference)
        raise RuntimeError("out of memory")
    assert same_weights(model, reference)


def test_the_penalty_on_a_linear_model_is_the_norm_of_its_matrix() -> None:
    W = torch.randn(CLASSES, 10, generator=seeded())
    x = torch.rand(4000, 10, generator=seeded(1), requires_grad=True)
    exact = W.square().sum().item()
    estimates = [squared_norm(x @ W.T, x, seeded(n), projections=n).item() for n in (1, 4)]
    assert estimates == pytest.approx([exact] * 2, rel=0.05)


def test_the_penalty_agrees_with_torchs_jacobian(new_model: Any) -> None:
    """In expectation; many projections of few images come close."""
    model, ((x, _), *_) = new_model(), data()
    x = x[2:4].requires_grad_()
    exact = sum(
        torch.autograd.functional.jacobian(lambda image: model(image[None])[0], each).square().sum().item()
        for each in x.detach()
    )
    estimate = squared_norm(model(x), x, seeded(), projections=600)
    assert estimate.item() == pytest.approx(exact / 2, rel=0.1)
    estimate.backward()
    assert model.embed.weight.grad is not None and model.embed.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("weight", [0.1, 2.0])
def test_the_loss_of_jacobian_regularisation_is_its_formula(weight: float, new_model: Any, shared: TrainParams) -> None:
    """Cross entropy plus half of the weight times the squared norm, estimated with the same random directions."""
    settings = settings_of(shared, "jacobian", jacobian={"weight": weight, "projections": 3})
    model, (x, y) = new_model(), data()[0]
    (seen,) = run(regime_of(settings, model, seeded(5)), [(x, y)], attack_of())
    reference = new_model()
    image = x.clone().requires_grad_()
    logits = reference(image)
    expected = F.cross_entropy(logits, y) + weight / 2 * squared_norm(logits, image, seeded(5), projections=3)
    assert seen.loss == pytest.approx(expected.item(), rel=1e-5)


def test_jacobian_regularisation_with_weight_zero_is_standard_training(new_model: Any, shared: TrainParams) -> None:
    def go(weight: float) -> tuple[Classifier, list[BatchResult]]:
        model = new_model()
        settings = settings_of(shared, "jacobian", jacobian={"weight": weight, "projections": 1})
        return model, run(regime_of(settings, model), data(), attack_of())

    (none, seen), (some, seen_some) = go(0.0), go(1.0)
    theirs = new_model()
    reference = run(regime_of(settings_of(shared, "standard"), theirs), data(), attack_of())
    assert losses(seen) == pytest.approx(losses(reference), rel=1e-5)
    close_weights(none, theirs, atol=1e-5)
    assert seen_some[0].loss > seen[0].loss
    assert not same_weights(none, some)
