"""PGD against Foolbox's PGD (Rauber et al. 2020), an independent implementation: equal starts give equal images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.losses import cross_entropy
from ssmlab.evaluation.own_attacks import Fmn, LossPgd
from ssmlab.evaluation.victim import Victim, is_right
from ssmlab.params import Norm
from ssmlab.training.adversary import ascend
from ssmlab.training.attack import Attack
from tests.evaluation.checks.models import digits, trained
from tests.probes.models import labelled_images, model_of

foolbox = pytest.importorskip("foolbox", reason="Foolbox is not installed: it is in the extra dev")
eagerpy = pytest.importorskip("eagerpy")

CPU = torch.device("cpu")
STEPS = 20
EPS: dict[Norm, float] = {"linf": 0.05, "l2": 0.5}


def ssm(mixer: str) -> tuple[nn.Module, Tensor, Tensor]:
    model = model_of(mixer=mixer, pointwise="gelu")
    return model.eval().requires_grad_(False), *labelled_images(model, 40)


def network() -> tuple[nn.Module, Tensor, Tensor]:
    x, y = digits()
    return trained().eval(), x[:100], y[:100]


MODELS: dict[str, Callable[[], tuple[nn.Module, Tensor, Tensor]]] = {
    "two layers": network,
    "s4": lambda: ssm("s4"),
    "s5": lambda: ssm("s5"),
}


def from_foolbox(model: nn.Module, x: Tensor, y: Tensor, norm: Norm, start: Tensor, alpha: float) -> Tensor:
    """The adversarial images of Foolbox's PGD for x, starting at `start`."""
    base = foolbox.attacks.LinfPGD if norm == "linf" else foolbox.attacks.L2PGD

    class FromStart(base):  # type: ignore[misc, valid-type]
        """Foolbox draws its starts from the generator of the batch; here it is told where to start."""

        def get_random_start(self, x0: Any, epsilon: float) -> Any:
            return eagerpy.astensor(start)

    attack = FromStart(abs_stepsize=alpha, steps=STEPS, random_start=True)
    found: Tensor = attack.run(foolbox.PyTorchModel(model, bounds=(0, 1)), x, y, epsilon=EPS[norm])
    return found


@pytest.mark.parametrize("norm", EPS)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("seed", [0, 1])
def test_pgd_from_the_same_start_gives_the_images_of_foolbox(name: str, norm: Norm, seed: int) -> None:
    model, x, y = MODELS[name]()
    ball, alpha = Ball(EPS[norm], norm), EPS[norm] / 8
    start = ball.start(x, seed, "start 1")
    theirs = from_foolbox(model, x, y, norm, start, alpha)
    judging = LossPgd(Victim(model, CPU), seed, cross_entropy, ball=ball, alpha=alpha, steps=STEPS, random_start=True)
    settings = Attack(eps=ball.eps, alpha=alpha, steps=STEPS, norm=norm)
    for ours in (judging(x, y), ascend(model, x, y, start, settings, nn.functional.cross_entropy)):
        assert same_images(ours, theirs) >= 0.97
        assert is_right(model(ours), y).equal(is_right(model(theirs), y))
    assert not theirs.equal(x)


def same_images(ours: Tensor, theirs: Tensor) -> float:
    """The share of images that agree to rounding. A pixel whose gradient is nearly 0 may have either sign in L-inf."""
    return float(((ours - theirs).flatten(1).abs().amax(dim=1) < 1e-5).double().mean())


def fmn_distances(norm: Norm) -> tuple[Tensor, Tensor]:
    """The smallest distances that our FMN and Foolbox's find for the images that a network has right: (N,) each."""
    model, x, y = network()
    right = is_right(model(x), y)
    x, y = x[right], y[right]
    ours = Fmn(Victim(model, CPU), ball=Ball(EPS[norm], norm), steps=100)
    ours(x, y)
    attack = (foolbox.attacks.LInfFMNAttack if norm == "linf" else foolbox.attacks.L2FMNAttack)(steps=100)
    x_adv = attack.run(foolbox.PyTorchModel(model, bounds=(0, 1)), x, y)
    assert not is_right(model(x_adv), y).any()
    return ours.distances, Ball(EPS[norm], norm).distance(x_adv, x)


def test_fmn_finds_the_distances_of_foolbox_in_linf() -> None:
    ours, theirs = fmn_distances("linf")
    torch.testing.assert_close(ours, theirs, rtol=0.01, atol=0.0)


def test_fmn_in_l2_finds_every_image_at_no_more_than_the_distance_of_foolbox() -> None:
    ours, theirs = fmn_distances("l2")
    assert (ours <= 1.01 * theirs).all()
