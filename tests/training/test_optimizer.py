from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, CyclicLR

from ssmlab.nets.build import build
from ssmlab.nets.classifier import Classifier, ssm_parameters
from ssmlab.params import OptimizerParams, Params
from ssmlab.training.optimizer import make_optimizer, make_schedule

SETTINGS = OptimizerParams(lr=0.1, ssm_lr=0.01, weight_decay=0.5, schedule="cosine")


@pytest.fixture(params=["ssm", "attention", "ads"])
def model(request: pytest.FixtureRequest, tiny_params: Params) -> Classifier:
    return build(tiny_params.run(request.param).model, (1, 28, 28), 10, 0)


def test_every_parameter_is_in_exactly_one_group(model: Classifier) -> None:
    optimizer = make_optimizer(model, SETTINGS)
    grouped = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.parameters())


def test_a_step_without_a_gradient_decays_everything_but_the_ssm_parameters(model: Classifier) -> None:
    """With zero gradients AdamW only multiplies by 1 - lr * weight_decay, which shows each parameter's group."""
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    make_optimizer(model, SETTINGS).step()
    ssm = {id(parameter) for parameter in ssm_parameters(model)}
    for name, parameter in model.named_parameters():
        left = 1.0 if id(parameter) in ssm else 1 - 0.1 * 0.5
        torch.testing.assert_close(parameter.detach(), left * before[name], msg=name)


def test_the_first_step_of_every_group_has_the_length_of_its_rate(model: Classifier) -> None:
    """Adam's first step is lr * sign(gradient), whatever the gradient's size."""
    settings = SETTINGS.model_copy(update={"weight_decay": 0.0})
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    make_optimizer(model, settings).step()
    ssm = {id(parameter) for parameter in ssm_parameters(model)}
    for name, parameter in model.named_parameters():
        expected = before[name] - (0.01 if id(parameter) in ssm else 0.1)
        torch.testing.assert_close(parameter.detach(), expected, rtol=0, atol=1e-5, msg=name)


def test_the_cosine_schedule_agrees_with_torch(model: Classifier) -> None:
    ours, theirs = make_optimizer(model, SETTINGS), make_optimizer(model, SETTINGS)
    schedule, reference = make_schedule(ours, SETTINGS, 20), CosineAnnealingLR(theirs, T_max=20)
    for step in range(20):
        assert schedule.get_last_lr() == pytest.approx(reference.get_last_lr())
        assert schedule.get_last_lr()[0] > 0, step
        for optimizer, each in ((ours, schedule), (theirs, reference)):
            optimizer.step()
            each.step()
    assert schedule.get_last_lr() == pytest.approx([0.0] * len(ours.param_groups), abs=1e-12)


def test_the_cyclic_schedule_agrees_with_torch(model: Classifier) -> None:
    """Up from zero to the group's rate in half of the steps, and down to zero."""
    settings = SETTINGS.model_copy(update={"schedule": "cyclic"})
    ours, theirs = make_optimizer(model, settings), make_optimizer(model, settings)
    rates = [group["lr"] for group in theirs.param_groups]
    schedule = make_schedule(ours, settings, 20)
    reference = CyclicLR(theirs, [0.0] * len(rates), rates, step_size_up=10, cycle_momentum=False)
    seen = []
    for _ in range(20):
        assert schedule.get_last_lr() == pytest.approx(reference.get_last_lr())
        seen.append(schedule.get_last_lr()[0])
        for optimizer, each in ((ours, schedule), (theirs, reference)):
            optimizer.step()
            each.step()
    assert (seen[0], max(seen), seen.index(max(seen))) == (0.0, 0.1, 10)
    assert schedule.get_last_lr()[0] == 0.0


def test_the_constant_schedule_never_changes_the_rate(model: Classifier) -> None:
    settings = SETTINGS.model_copy(update={"schedule": "constant"})
    optimizer = make_optimizer(model, settings)
    schedule = make_schedule(optimizer, settings, 20)
    for _ in range(5):
        optimizer.step()
        schedule.step()
    assert schedule.get_last_lr()[0] == 0.1
