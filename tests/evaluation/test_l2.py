"""Attacks in L2: against the exact margins of affine models, against other people's code, and inside ball and box."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchattacks
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ssmlab.core.errors import UserError
from ssmlab.evaluation.attacks import run_attack
from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.evaluate import evaluate
from ssmlab.evaluation.library_attacks import SQUARE, Square, library_settings
from ssmlab.evaluation.losses import cross_entropy, negative_margin
from ssmlab.evaluation.own_attacks import Fmn, LossPgd
from ssmlab.evaluation.plan import check_sides
from ssmlab.evaluation.victim import Victim
from ssmlab.params import (
    ApgdParams,
    AttackSpec,
    AutoAttackParams,
    FgsmParams,
    FmnParams,
    PgdParams,
    ScreenedAutoAttackParams,
    SquareParams,
)
from ssmlab.params.written_float import WrittenFloat
from ssmlab.probes.linear import affine_map
from ssmlab.training.adversary import pgd
from ssmlab.training.attack import Attack
from tests.probes.models import model_of

CPU = torch.device("cpu")
EVERYTHING: dict[str, Any] = {"images": "all", "checkpoints": ("best",)}
STEP = WrittenFloat(0.05)
SPECS: dict[str, AttackSpec] = {
    "fgsm": FgsmParams(kind="fgsm", **EVERYTHING),
    "pgd": PgdParams(kind="pgd", alpha=STEP, steps=10, random_start=True, **EVERYTHING),
    "pgd, margin": PgdParams(
        kind="pgd", alpha=STEP, steps=10, random_start=True, loss="margin", restarts=2, **EVERYTHING
    ),
    "apgd": ApgdParams(kind="apgd", loss="ce", steps=10, restarts=1, **EVERYTHING),
    "fmn": FmnParams(kind="fmn", steps=30, **EVERYTHING),
    "square": SquareParams(kind="square", queries=40, **EVERYTHING),
    "screened": ScreenedAutoAttackParams(kind="screened-autoattack", steps=5, queries=20, **EVERYTHING),
    "autoattack": AutoAttackParams(kind="autoattack", steps=5, queries=20, **EVERYTHING),
}


def network(seed: int = 0, width: int = 8) -> nn.Sequential:
    """A small network of images (1, 8, 8) that is not linear, with weights of its own generator."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.GELU(), nn.Linear(width, 5))
    for parameter in model.parameters():
        parameter.data = 0.4 * torch.randn(parameter.shape, generator=generator)
    return model.requires_grad_(False)


def images(n: int, seed: int = 5) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


class FirstClasses(nn.Module):
    """The first `count` logits of a model."""

    def __init__(self, model: nn.Module, count: int) -> None:
        super().__init__()
        self.model, self.count = model, count

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)[:, : self.count]  # (B, count)
        return logits


def affine_model(mixer: str, classes: int) -> tuple[Victim, Tensor, Tensor, Tensor]:
    """An affine state space model, images far from the edge of the box, their classes, and their exact L2 margins.

    Inside [0, 1], the distance to the nearest point of class j is (f_y - f_j)(x) / ||w_y - w_j||.
    """
    model = model_of(norm="none", mixer=mixer)
    shape = (40, *model.image_shape)
    x = 0.4 + 0.2 * torch.rand(shape, generator=torch.Generator().manual_seed(3))
    weight, bias = (each[:classes] for each in affine_map(model))
    logits = x.flatten(1).double() @ weight.t() + bias  # (B, classes)
    y = logits.argmax(dim=1)
    margins = logits.gather(1, y[:, None]) - logits  # (B, classes)
    lengths = (weight[y][:, None] - weight[None]).norm(dim=2)  # (B, classes)
    distances = (margins / lengths).nan_to_num(nan=torch.inf).min(dim=1).values  # (B,)
    return Victim(FirstClasses(model.freeze(), classes), CPU), x, y, distances


@pytest.mark.parametrize("mixer", ["s4", "s5"])
@pytest.mark.parametrize("name", SPECS)
def test_no_attack_in_l2_breaks_an_image_of_an_affine_model_below_its_exact_margin(mixer: str, name: str) -> None:
    victim, x, y, distances = affine_model(mixer, classes=5)
    eps = float(distances.median())
    assert eps < 0.35  # the ball stays inside the box
    found = run_attack(SPECS[name], victim, x, y, Ball(eps, "l2"), 5, seed=0)
    assert found.escaped == 0
    assert found.right[distances > eps * (1 + 1e-3)].all()
    assert not found.right.all()
    if "autoattack" in SPECS[name].kind:  # its targets are all classes
        assert not found.right[distances < 0.95 * eps].any()


@pytest.mark.parametrize("mixer", ["s4", "s5"])
@pytest.mark.parametrize("name", ["fgsm", "pgd", "pgd, margin", "apgd", "fmn"])
def test_attacks_in_l2_break_what_the_exact_margin_of_two_classes_allows(mixer: str, name: str) -> None:
    """With two classes, the gradient of every loss is perpendicular to the decision boundary."""
    victim, x, y, distances = affine_model(mixer, classes=2)
    near = distances.sort().values
    eps = float(near[len(near) // 2])
    found = run_attack(SPECS[name], victim, x, y, Ball(eps, "l2"), 2, seed=0)
    assert found.right[distances > eps * (1 + 1e-3)].all()
    assert not found.right[distances < 0.95 * eps].any()


@pytest.mark.parametrize("mixer", ["s4", "s5"])
def test_fmn_finds_the_exact_l2_margin_of_an_affine_model(mixer: str) -> None:
    victim, x, y, distances = affine_model(mixer, classes=2)
    attack = Fmn(victim, ball=Ball(8.0, "l2"), steps=200)
    x_adv = attack(x, y)
    near = distances < 0.35  # further away the edge of the box may be in the way
    assert near.sum() >= 20
    found, exact = attack.distances[near].double(), distances[near]
    torch.testing.assert_close(found, exact, rtol=0.02, atol=1e-5)
    torch.testing.assert_close((x_adv - x).flatten(1).norm(dim=1), attack.distances)


@pytest.mark.parametrize("loss", [cross_entropy, negative_margin])
def test_pgd_in_l2_breaks_a_model_of_two_classes_where_its_closed_form_says(loss: Any) -> None:
    layer = nn.Linear(64, 2)
    generator = torch.Generator().manual_seed(2)
    layer.weight.data, layer.bias.data = torch.randn(2, 64, generator=generator), torch.zeros(2)
    model = nn.Sequential(nn.Flatten(), layer).requires_grad_(False)
    x = 0.4 + 0.2 * torch.rand(24, 1, 8, 8, generator=generator)
    logits, y = model(x), model(x).argmax(dim=1)
    distances = (logits[:, 0] - logits[:, 1]).abs() / (layer.weight[0] - layer.weight[1]).norm()
    eps = float(distances.sort().values[11:13].mean())
    attack = LossPgd(Victim(model, CPU), 0, loss, ball=Ball(eps, "l2"), alpha=eps / 4, steps=12, random_start=True)
    assert (model(attack(x, y)).argmax(dim=1) == y).equal(distances > eps)


def test_pgd_in_l2_is_that_of_torchattacks_and_that_of_training() -> None:
    """Three programs that share no code."""
    model, x = network(), images(9)
    y = model(x).argmax(dim=1)
    settings_: dict[str, Any] = {"alpha": 0.1, "steps": 8, "random_start": False}
    ours = LossPgd(Victim(model, CPU), 0, cross_entropy, ball=Ball(0.4, "l2"), **settings_)(x, y)
    theirs = torchattacks.PGDL2(Victim(model, CPU), eps=0.4, **settings_)(x, y)
    of_training = pgd(model, x, y, Attack(eps=0.4, norm="l2", **settings_))
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=1e-5)
    torch.testing.assert_close(ours, of_training, rtol=0.0, atol=1e-6)
    assert float((ours - x).flatten(1).norm(dim=1).min()) > 0.2


def test_a_sure_model_does_not_shorten_the_steps_in_l2() -> None:
    """torchattacks adds 1e-10 to the length of the gradient, beside which that of a sure model is nothing."""
    model, x = network(), 0.3 + 0.4 * images(9)  # where a short step is not cut off by the box
    y = model(x).argmax(dim=1)
    for parameter in model[3].parameters():
        parameter.data *= 20.0
    settings_: dict[str, Any] = {"alpha": 0.1, "steps": 1, "random_start": False}
    ours = LossPgd(Victim(model, CPU), 0, cross_entropy, ball=Ball(0.4, "l2"), **settings_)(x, y)
    theirs = torchattacks.PGDL2(Victim(model, CPU), eps=0.4, **settings_)(x, y)
    torch.testing.assert_close((ours - x).flatten(1).norm(dim=1), torch.full((9,), 0.1), rtol=1e-3, atol=0.0)
    assert float((theirs - x).flatten(1).norm(dim=1).min()) < 0.05


@pytest.mark.parametrize("exponent", [-40, -30, -22.5, 0, 30])
def test_a_direction_in_l2_has_length_1_however_small_or_large_the_gradient_is(exponent: float) -> None:
    """The squares of gradients below 1e-22 underflow, as a very sure model has them; steps were then far too long."""
    gradient = 10.0**exponent * torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    direction, exact = Ball(0.4, "l2").direction(gradient).double(), gradient.double()
    torch.testing.assert_close(direction, exact / exact.flatten(1).norm(dim=1).view(-1, 1, 1, 1), rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("name", SPECS)
@given(eps=st.floats(0.0, 3.0), seed=st.integers(0, 50))
@settings(deadline=None, max_examples=6)
def test_adversarial_images_lie_in_the_l2_ball_and_the_box(name: str, eps: float, seed: int) -> None:
    model, x = network(), images(4, seed)
    y = model(x).argmax(dim=1)
    found = run_attack(SPECS[name], Victim(model, CPU), x, y, Ball(eps, "l2"), 5, seed=seed)
    assert found.escaped == 0
    assert float((found.x_adv - x).flatten(1).norm(dim=1).max()) <= eps * (1 + 1e-5) + 1e-6
    assert 0.0 <= float(found.x_adv.min()) <= float(found.x_adv.max()) <= 1.0


def test_a_random_start_in_l2_has_a_uniform_length_and_no_preferred_direction() -> None:
    x = torch.full((800, 1, 8, 8), 0.5) + 1e-4 * images(800)
    delta = (Ball(0.3, "l2").start(x, 0, "start 1") - x).flatten(1).double()
    lengths = delta.norm(dim=1) / 0.3
    assert abs(float(lengths.mean()) - 0.5) < 4 * (1 / 12 / 800) ** 0.5
    assert float(lengths.max()) <= 1.0 + 1e-5
    unit = delta / delta.norm(dim=1, keepdim=True)
    assert float(unit.mean(dim=0).abs().max()) < 5 * (1 / 64 / 800) ** 0.5
    assert not torch.equal(delta[0], (Ball(0.3, "l2").start(x, 1, "start 1") - x).flatten(1)[0].double())


def test_the_same_eps_is_a_weaker_threat_in_l2_than_in_linf() -> None:
    model, x = network(), images(30)
    y = model(x).argmax(dim=1)
    found = {
        norm: evaluate(model, x, y, ["fgsm", "pgd-10"], 0.06, norm=norm).measures["pgd-10"].correct
        for norm in ("linf", "l2")
    }
    assert found["l2"] > found["linf"]


@given(eps=st.floats(1e-5, 0.5), length=st.floats(1e-5, 1.0))
@settings(deadline=None, max_examples=20)
def test_a_projected_point_is_as_far_away_as_before_but_at_most_eps(eps: float, length: float) -> None:
    x, way = torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64), images(1)[..., :4, :4].double() - 0.5
    delta = Ball(eps, "l2").project(x + way * length / way.norm(), x) - x
    torch.testing.assert_close(delta, way * min(length, eps) / way.norm(), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("side", [4, 64])
def test_an_image_outside_the_l2_ball_by_more_than_rounding_is_refused(side: int) -> None:
    """Rounding of 1e-6 in every pixel makes a distance of 1e-6 times the root of their number."""
    x = torch.full((1, 1, side, side), 0.5, dtype=torch.float64)
    ball = Ball(0.1, "l2")
    per_pixel = 0.1 / side
    assert ball.contains(x + per_pixel + 0.9e-6, x).all()
    assert not ball.contains(x + per_pixel + 1.1e-6, x).any()


@pytest.mark.parametrize("count", [2, 6])
def test_an_image_under_square_is_the_same_alone_and_among_others(count: int) -> None:
    """torchattacks draws other signs for every number of images that are left."""
    model, x = network(), images(count)
    y = model(x).argmax(dim=1)

    def best_points(count: int) -> Tensor:
        """Of all images, broken or not: `Square` itself returns the clean image for those it did not break."""
        attack = Square(Victim(model, CPU), **SQUARE, n_queries=60, **library_settings(Ball(0.1, "l2"), 0))
        attack.init_hyperparam(x)
        torch.manual_seed(0)
        points: Tensor = attack.attack_single_run(x[:count], y[:count])[1]
        return points

    alone = best_points(1)
    torch.testing.assert_close(best_points(count)[:1], alone)
    assert not alone.equal(x[:1])


def test_neither_image_is_attacked_beyond_the_diagonal_of_the_box() -> None:
    model, x = network(), images(4)
    y = model(x).argmax(dim=1)
    evaluate(model, x, y, ["fgsm"], 8.0, norm="l2")
    with pytest.raises(
        UserError, match=r"eps must be in \[0, 8\], the largest L2 distance between two images of 1 x 8 x 8"
    ):
        evaluate(model, x, y, ["fgsm"], 8.1, norm="l2")
    with pytest.raises(UserError, match="norm must be one of linf, l2; it is 'l1'"):
        evaluate(model, x, y, ["fgsm"], 0.1, norm="l1")  # type: ignore[arg-type]


@pytest.mark.parametrize("height", [*range(3, 33), 64])
def test_square_in_l2_refuses_exactly_the_images_that_it_would_stop_on(height: int) -> None:
    """The other route lets it run: torchattacks then fails with a shape error or places no tile."""
    spec = SquareParams(kind="square", queries=2, **EVERYTHING)
    model = nn.Sequential(nn.Flatten(), nn.Linear(height * height, 3)).requires_grad_(False)
    x = torch.rand(2, 1, height, height, generator=torch.Generator().manual_seed(0))
    try:
        check_sides({"square": spec}, "l2", x.shape[1:], "attacks: ")
    except UserError as error:
        assert f"attacks: square: Square in L2 has no start on images of 1 x {height} x {height}" in str(error)
        with pytest.raises((RuntimeError, ZeroDivisionError)):
            run_attack(spec, Victim(model, CPU), x, model(x).argmax(dim=1), Ball(0.1, "l2"), 3, 0)
    else:
        run_attack(spec, Victim(model, CPU), x, model(x).argmax(dim=1), Ball(0.1, "l2"), 3, 0)
    check_sides({"square": spec}, "linf", x.shape[1:])
