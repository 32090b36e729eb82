"""Our own attacks, each checked by two routes: against torchattacks, against closed forms, and inside the ball."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchattacks
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ssmlab.core.errors import UserError
from ssmlab.evaluation.attack_names import parse_attack
from ssmlab.evaluation.attacks import run_attack
from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.evaluate import evaluate
from ssmlab.evaluation.losses import cross_entropy, negative_margin
from ssmlab.evaluation.own_attacks import Fmn, LossPgd, Restarts
from ssmlab.evaluation.victim import Victim
from ssmlab.params import ApgdParams, AttackSpec, FmnParams, Norm, PgdParams, SquareParams
from ssmlab.params.written_float import WrittenFloat

CPU = torch.device("cpu")
EVERYTHING: dict[str, Any] = {"images": "all", "checkpoints": ("best",)}


def net(seed: int = 0) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(144, 5))
    for parameter in model.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator)
    return model.requires_grad_(False)


def images(n: int, seed: int = 5) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def linear_of_two(seed: int = 2) -> tuple[nn.Sequential, Tensor]:
    """A linear model of two classes and images that a small ball around does not reach the edge of the box."""
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(64, 2)
    layer.weight.data, layer.bias.data = torch.randn(2, 64, generator=generator), torch.zeros(2)
    return nn.Sequential(nn.Flatten(), layer).requires_grad_(False), 0.4 + 0.2 * torch.rand(
        12, 1, 8, 8, generator=generator
    )


def pgd(steps: int = 4, **changes: Any) -> PgdParams:
    return PgdParams(
        **({"kind": "pgd", "alpha": WrittenFloat(0.01), "steps": steps, "random_start": True} | EVERYTHING | changes)
    )


@pytest.mark.parametrize("steps", [1, 6])
def test_pgd_on_the_cross_entropy_is_that_of_torchattacks(steps: int) -> None:
    victim, x = Victim(net(), CPU), images(9)
    y = net()(x).argmax(dim=1)
    common = {"alpha": 0.02, "steps": steps, "random_start": False}
    ours = LossPgd(victim, 0, cross_entropy, ball=Ball(0.05), **common)(x, y)
    torch.testing.assert_close(ours, torchattacks.PGD(victim, eps=0.05, **common)(x, y), rtol=0.0, atol=1e-7)


@pytest.mark.parametrize("loss", [cross_entropy, negative_margin])
def test_pgd_on_either_loss_breaks_a_linear_model_where_its_closed_form_says(loss: Any) -> None:
    model, x = linear_of_two()
    y = model(x).argmax(dim=1)
    logits, weight = model(x), model[1].weight
    distance = (logits[:, 0] - logits[:, 1]).abs() / (weight[0] - weight[1]).abs().sum()
    eps = float(distance.sort().values[5:7].mean())
    attack = LossPgd(Victim(model, CPU), 0, loss, ball=Ball(eps), alpha=eps / 4, steps=12, random_start=True)
    assert (model(attack(x, y)).argmax(dim=1) == y).equal(distance > eps)


def test_fmn_finds_the_closed_form_distance_of_a_linear_model() -> None:
    model, x = linear_of_two()
    y = model(x).argmax(dim=1)
    logits, weight = model(x), model[1].weight
    distance = (logits[:, 0] - logits[:, 1]).abs() / (weight[0] - weight[1]).abs().sum()
    attack = Fmn(Victim(model, CPU), ball=Ball(1.0), steps=200)
    x_adv = attack(x, y)
    assert (attack.distances >= distance - 1e-6).all()
    torch.testing.assert_close(attack.distances, distance, rtol=0.05, atol=1e-4)
    assert (model(x_adv).argmax(dim=1) != y).all()
    torch.testing.assert_close((x_adv - x).abs().flatten(1).amax(dim=1), attack.distances)


@given(eps=st.floats(0.0, 0.3), seed=st.integers(0, 50))
@settings(deadline=None, max_examples=10)
def test_every_attack_of_ours_stays_in_the_ball_and_the_box(eps: float, seed: int) -> None:
    victim, x = Victim(net(), CPU), images(4, seed)
    y = net()(x).argmax(dim=1)
    pgd_on_margin = LossPgd(victim, seed, negative_margin, ball=Ball(eps), alpha=0.1, steps=3, random_start=True)
    for attack in (pgd_on_margin, Restarts(pgd_on_margin, victim, 2), Fmn(victim, ball=Ball(eps), steps=5)):
        x_adv = attack(x, y)
        assert float((x_adv - x).abs().max()) <= eps + 1e-6
        assert 0.0 <= float(x_adv.min()) <= float(x_adv.max()) <= 1.0


def test_fmn_agrees_with_pgd_at_every_radius() -> None:
    """One run gives the whole curve: PGD with many starts breaks hardly any image with a larger FMN distance."""
    model, x = net(), images(40)
    y = model(x).argmax(dim=1)
    found = evaluate(model, x, y, {"fmn": FmnParams(kind="fmn", steps=100, **EVERYTHING)}, 0.02).measures["fmn"]
    assert found.distances is not None
    for eps in (0.005, 0.01, 0.02):
        strong = pgd(40, alpha=WrittenFloat(eps / 10), restarts=5)
        by_pgd = evaluate(model, x, y, {"pgd": strong}, eps).measures["pgd"].flags
        by_fmn = "".join(str(int(distance is None or distance > eps)) for distance in found.distances)
        assert sum(a != b for a, b in zip(by_pgd, by_fmn, strict=True)) <= 2
        assert 0 < by_pgd.count("1") < 40
        if eps == 0.02:
            assert found.flags == by_fmn


def test_a_wrong_clean_image_has_distance_zero_and_an_unbroken_image_has_no_distance() -> None:
    model, x = net(), images(6)
    y = model(x).argmax(dim=1)
    y[0] = (y[0] + 1) % 5

    def constant(x: Tensor) -> Tensor:
        return torch.tensor([[1.0, 0.0]]).expand(len(x), 2) + 0.0 * x.flatten(1).sum(1, keepdim=True)

    spec = {"fmn": FmnParams(kind="fmn", steps=10, **EVERYTHING)}
    found = evaluate(model, x, y, spec, 0.02).measures["fmn"].distances
    assert found is not None
    assert found[0] == 0.0
    held = evaluate(constant, x, torch.zeros(6, dtype=torch.int64), spec, 0.02).measures["fmn"]
    assert held.distances == (None,) * 6
    assert held.correct == 6


def test_fmn_finds_images_at_the_edge_of_the_box_in_either_norm() -> None:
    """Half of the gradient is blocked at black pixels, so that the distance a linear model would need is too short."""
    model = net()
    x = images(40).round()  # black and white
    y = model(x).argmax(dim=1)
    for ball in (Ball(1.0), Ball(8.0, "l2")):
        attack = Fmn(Victim(model, CPU), ball=ball, steps=60)
        attack(x, y)
        assert attack.distances.isfinite().all()


def test_fmn_estimates_the_boundary_from_the_distance_where_it_stands() -> None:
    """The slope of the margin falls from 10 to 1 on the way, so the estimate from the image itself is far too short.

    The image is one pixel of 0.2. Its margin is 1 there, 0.5 at 0.25, and 0 at 0.75.
    """

    def bent(x: Tensor) -> Tensor:
        way = x.flatten(1)[:, 0] - 0.2
        margin = torch.where(way < 0.05, 1.0 - 10.0 * way, 0.55 - way)
        return torch.stack([margin, torch.zeros_like(margin)], dim=1)

    attack = Fmn(Victim(bent, CPU), ball=Ball(1.0), steps=2)  # type: ignore[arg-type]
    attack(torch.full((1, 1, 1, 1), 0.2), torch.zeros(1, dtype=torch.int64))
    assert 0.55 < float(attack.distances) < 0.58


@pytest.mark.parametrize("ball", [Ball(0.02), Ball(0.3, "l2")])
def test_every_start_is_another_point_and_the_first_is_the_same_for_every_attack(ball: Ball) -> None:
    victim, x = Victim(net(), CPU), images(3)
    y = torch.zeros(3, dtype=torch.int64)

    def new_attack() -> LossPgd:
        return LossPgd(victim, 0, cross_entropy, ball=ball, alpha=0.0, steps=1, random_start=True)

    attack = new_attack()
    first, second, third = (attack(x, y) for _ in range(3))
    assert len({float(start.sum()) for start in (x, first, second, third)}) == 4
    assert new_attack()(x, y).equal(first)


def test_more_restarts_never_leave_more_images_right() -> None:
    model, x = net(), images(30)
    y = model(x).argmax(dim=1)
    weak = {"alpha": WrittenFloat(0.004), "steps": 2}
    specs: dict[str, AttackSpec] = {str(count): pgd(**weak, restarts=count) for count in (1, 3, 9)}
    specs["once"] = pgd(**weak)
    found = {name: each.flags for name, each in evaluate(model, x, y, specs, 0.02).measures.items()}
    assert found["once"] == found["1"]
    for fewer, more in (("1", "3"), ("3", "9")):
        assert all(flag <= before for flag, before in zip(found[more], found[fewer], strict=True))
    assert found["9"].count("1") < found["1"].count("1")


def test_restarts_without_a_random_start_are_refused() -> None:
    with pytest.raises(ValueError, match="restarts need random_start: true"):
        pgd(restarts=2, random_start=False)


@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_apgd_and_square_alone_are_the_parts_of_autoattack(loss: Any) -> None:
    model, x = net(), images(10)
    y = model(x).argmax(dim=1)
    specs: list[AttackSpec] = [
        ApgdParams(kind="apgd", loss=loss, steps=5, restarts=2, **EVERYTHING),
        SquareParams(kind="square", queries=40, **EVERYTHING),
    ]
    for spec in specs:
        found = run_attack(spec, Victim(model, CPU), x, y, Ball(0.02), 5, seed=0)
        assert 0 < int(found.right.sum()) < 10
    aa = run_attack(parse_attack("autoattack", 0.02), Victim(model, CPU), x, y, Ball(0.02), 5, seed=0)
    alone = run_attack(parse_attack("apgd-ce", 0.02), Victim(model, CPU), x, y, Ball(0.02), 5, seed=0)
    assert aa.after["apgd-ce"] == int(alone.right.sum())


def test_the_dlr_loss_needs_three_classes() -> None:
    model, x = linear_of_two()
    with pytest.raises(UserError, match="its loss needs 3 classes"):
        evaluate(model, x, model(x).argmax(dim=1), ["apgd-dlr"], 0.02)


def test_queries_are_counted_for_an_attacked_image_and_do_not_depend_on_the_batch() -> None:
    model, x = net(), images(12)
    y = model(x).argmax(dim=1)
    y[:2] = (y[:2] + 1) % 5  # wrong when clean, hence not attacked
    specs: dict[str, AttackSpec] = {
        "fgsm": parse_attack("fgsm", 0.02),
        "pgd": pgd(6),
        "fmn": FmnParams(kind="fmn", steps=7, **EVERYTHING),
        "square": SquareParams(kind="square", queries=30, **EVERYTHING),
    }
    whole = evaluate(model, x, y, specs, 0.02).measures
    cut = evaluate(model, x, y, specs, 0.02, batch_size=5).measures
    assert {name: each.queries for name, each in whole.items()} == {name: each.queries for name, each in cut.items()}
    assert whole["clean"].queries is None
    assert (whole["fgsm"].queries, whole["pgd"].queries, whole["fmn"].queries) == (2, 7, 9)  # the last one judges
    assert 3 < whole["square"].queries <= 34


def test_the_loss_is_noted_at_every_step_and_pgd_climbs_it() -> None:
    model, x = net(), images(12)
    y = model(x).argmax(dim=1)
    y[:2] = (y[:2] + 1) % 5  # wrong when clean, hence not attacked
    specs: dict[str, AttackSpec] = {
        "fgsm": parse_attack("fgsm", 0.02),
        "pgd": pgd(6, restarts=3, alpha=WrittenFloat(0.004)),
    }
    found = evaluate(model, x, y, specs, 0.02, batch_size=5).measures
    assert found["clean"].loss_by_step is None
    fgsm, losses = found["fgsm"].loss_by_step, found["pgd"].loss_by_step
    assert fgsm is not None
    assert losses is not None
    assert (len(fgsm), len(losses)) == (2, 7)
    assert fgsm[0] == pytest.approx(float(cross_entropy(model(x), y)[2:].mean()), rel=1e-5)
    assert losses[-1] > losses[0]
    assert evaluate(model, x, y, specs, 0.02).measures["pgd"].loss_by_step == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize(("norm", "eps", "alpha"), [("linf", 0.02, 0.004), ("l2", 0.15, 0.03)])
def test_one_long_pgd_gives_the_accuracy_of_every_shorter_one(norm: Norm, eps: float, alpha: float) -> None:
    """The other route attacks anew with each number of steps."""
    model, x = net(), images(40)
    y = model(x).argmax(dim=1)
    y[:3] = (y[:3] + 1) % 5  # wrong when clean, hence wrong after every step
    size = WrittenFloat(alpha)
    specs: dict[str, AttackSpec] = {str(steps): pgd(steps, alpha=size) for steps in (1, 2, 5)}
    specs["8"] = pgd(8, alpha=size, restarts=3)  # the curve is that of its first start
    found = evaluate(model, x, y, specs, eps, norm=norm, batch_size=7).measures
    curve = found["8"].accuracy_by_step
    assert curve is not None and len(curve) == 9
    assert [curve[steps] for steps in (1, 2, 5)] == [found[str(steps)].accuracy for steps in (1, 2, 5)]
    assert curve[8] >= found["8"].accuracy and 37 / 40 > curve[1] > curve[5] > 0
    assert found["clean"].accuracy_by_step is None


def test_square_that_breaks_what_gradients_cannot_is_flagged() -> None:
    model, x = net(), images(40)

    def quantised(x: Tensor) -> Tensor:
        return model((8 * x).round() / 8)

    y = quantised(x).argmax(dim=1)
    specs: dict[str, AttackSpec] = {"pgd": pgd(5), "square": SquareParams(kind="square", queries=300, **EVERYTHING)}
    masked = evaluate(quantised, x, y, specs, 0.05)
    assert "square beats gradients" in {check.name for check in masked.checks if check.raised}
    honest = evaluate(model, x, model(x).argmax(dim=1), specs, 0.02)
    assert "square beats gradients" in {check.name for check in honest.checks if not check.raised}
