from __future__ import annotations

import pytest
import torch
import torchattacks
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ssmlab.core.errors import UserError
from ssmlab.params import Norm
from ssmlab.training.adversary import check_pixels, l2_norms, pgd, project, random_start, steepest_direction
from ssmlab.training.attack import Attack

SLACK = 1e-6  # x + eps is rounded


def attack(
    eps: float = 0.1, alpha: float = 0.025, steps: int = 7, random_start: bool = False, norm: Norm = "linf"
) -> Attack:
    return Attack(eps, alpha, steps, norm, random_start)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(seed: int, batch: int = 6) -> tuple[Tensor, Tensor]:
    generator = seeded(seed)
    x = torch.rand(batch, 1, 5, 5, generator=generator)
    x[0], x[1] = 0.0, 1.0  # at the border of the box
    return x, torch.randint(3, (batch,), generator=generator)


@pytest.fixture
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Flatten(), nn.Linear(25, 16), nn.Tanh(), nn.Linear(16, 3)).eval()


def inside(x_adv: Tensor, x: Tensor, eps: float, norm: Norm = "linf") -> bool:
    away = (x_adv - x).abs().max() if norm == "linf" else l2_norms(x_adv - x).max()
    return bool(away <= eps + SLACK * max(1, eps) and x_adv.min() >= 0 and x_adv.max() <= 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": lambda x: x * 255}, r"x must be in \[0, 1\]; it ranges from 0 to 255: divide 8-bit images by 255"),
        ({"x": lambda x: x * 2 - 1}, r"x must be in \[0, 1\]; it ranges from -1 to 1"),
        ({"x": lambda x: x + 2e-3}, r"x must be in \[0, 1\]; it ranges from 0.002 to 1: "),  # more than rounding
        ({"x": lambda x: x * float("nan")}, r"x must be in \[0, 1\]"),
        ({"y": lambda y: y[:2]}, "there are 6 images and 2 labels"),
    ],
)
def test_images_and_labels_that_pgd_would_misread_are_refused(network, change, message: str) -> None:
    """Images of 0 to 255 came back white, because the ball is cut to [0, 1]."""
    x, y = images(0)
    with pytest.raises(UserError, match=message):
        pgd(network, change.get("x", torch.clone)(x), change.get("y", torch.clone)(y), attack())


@pytest.mark.parametrize(("form", "name"), [("byte", "torch.uint8"), ("numpy", "ndarray")])
def test_images_that_are_no_floats_are_refused_by_pgd(form: str, name: str) -> None:
    x, y = images(0)
    with pytest.raises(UserError, match=rf"x must be a tensor of floats in \[0, 1\]; it is {name}"):
        check_pixels(getattr(x, form)(), y)


def test_pgd_in_inference_mode_is_one_line(network: nn.Module) -> None:
    with torch.inference_mode(), pytest.raises(UserError, match=r"outside of torch.inference_mode"):
        pgd(network, *images(0), attack())


def test_pgd_on_a_linear_model_is_the_closed_form() -> None:
    """For two classes with logits (w x, -w x), the loss rises along -sign(w) for class 0 and sign(w) for class 1."""
    x, _ = images(0)
    w = torch.randn(25, generator=seeded(1))
    y = torch.tensor([0, 1, 0, 1, 0, 1])

    def model(x: Tensor) -> Tensor:
        score = x.flatten(1) @ w  # (B,)
        return torch.stack([score, -score], dim=1)  # (B, 2)

    away = torch.where(y == 0, -1.0, 1.0).view(-1, 1, 1, 1) * w.sign().view(1, 1, 5, 5)
    for start in (False, True):
        x_adv = pgd(model, x, y, attack(eps=0.1, alpha=0.05, steps=4, random_start=start), seeded(2))
        torch.testing.assert_close(x_adv, (x + 0.1 * away).clamp(0, 1), rtol=0, atol=SLACK)
    too_few = pgd(model, x, y, attack(eps=0.1, alpha=0.02, steps=3), None)
    torch.testing.assert_close(too_few, (x + 0.06 * away).clamp(0, 1), rtol=0, atol=SLACK)


def test_pgd_on_a_linear_model_is_the_closed_form_in_l2() -> None:
    """The perturbation is along the weights, with length eps; far from the border nothing is cut."""
    x = 0.4 + 0.2 * torch.rand(6, 1, 5, 5, generator=seeded(0))
    w = torch.randn(25, generator=seeded(1))
    y = torch.tensor([0, 1, 0, 1, 0, 1])

    def model(x: Tensor) -> Tensor:
        score = x.flatten(1) @ w  # (B,)
        return torch.stack([score, -score], dim=1)  # (B, 2)

    away = torch.where(y == 0, -1.0, 1.0).view(-1, 1, 1, 1) * (w / w.norm()).view(1, 1, 5, 5)
    x_adv = pgd(model, x, y, attack(eps=0.3, alpha=0.1, steps=4, norm="l2"), None)
    torch.testing.assert_close(x_adv, x + 0.3 * away, rtol=0, atol=SLACK)
    too_few = pgd(model, x, y, attack(eps=0.3, alpha=0.05, steps=3, norm="l2"), None)
    torch.testing.assert_close(too_few, x + 0.15 * away, rtol=0, atol=SLACK)


@given(exponent=st.floats(-41, 37), seed=st.integers(0, 50))
def test_a_direction_in_l2_has_length_1_for_gradients_of_every_size(exponent: float, seed: int) -> None:
    """The squares of gradients below 1e-22 underflow. Then the length came out too small, and steps left the ball."""
    gradient = torch.randn(3, 1, 5, 5, generator=seeded(seed), dtype=torch.float64) * 10**exponent
    direction = steepest_direction(gradient.float(), "l2").double()
    exact = gradient.float().double()
    torch.testing.assert_close(direction, exact / l2_norms(exact), rtol=0.0, atol=1e-6)
    assert torch.equal(steepest_direction(torch.zeros(3, 1, 5, 5), "l2"), torch.zeros(3, 1, 5, 5))


@pytest.mark.parametrize("start", [False, True])
def test_pgd_agrees_with_torchattacks_in_l2(network: nn.Module, start: bool) -> None:
    x, y = images(4)
    ours = pgd(network, x, y, attack(eps=0.8, alpha=0.2, steps=10, random_start=start, norm="l2"), seeded(5))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        theirs = torchattacks.PGDL2(network, eps=0.8, alpha=0.2, steps=10, random_start=start)(x, y)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert l2_norms(ours - x).max() > 0.7


@pytest.mark.parametrize("start", [False, True])
def test_pgd_agrees_with_torchattacks(network: nn.Module, start: bool) -> None:
    x, y = images(4)
    ours = pgd(network, x, y, attack(eps=0.2, alpha=0.03, steps=10, random_start=start), seeded(5))
    with torch.random.fork_rng():
        torch.manual_seed(5)  # torchattacks draws its start from the global generator
        theirs = torchattacks.PGD(network, eps=0.2, alpha=0.03, steps=10, random_start=start)(x, y)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=SLACK)
    assert (ours - x).abs().max() > 0.1


def test_pgd_raises_the_loss_it_is_given(network: nn.Module) -> None:
    x, y = images(6)
    targeted = pgd(network, x, y, attack(), None, loss=lambda logits, y: -nn.functional.cross_entropy(logits, y))
    untargeted = pgd(network, x, y, attack(), None)
    losses = [nn.functional.cross_entropy(network(each), y).item() for each in (targeted, x, untargeted)]
    assert losses == sorted(losses)
    assert losses[0] < losses[1] < losses[2]


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 1000),
    eps=st.floats(0, 1),
    alpha=st.floats(0, 2),
    steps=st.integers(1, 5),
    start=st.booleans(),
    norm=st.sampled_from(["linf", "l2"]),
)
def test_pgd_never_leaves_the_ball_or_the_box(
    seed: int, eps: float, alpha: float, steps: int, start: bool, norm: Norm
) -> None:
    x, y = images(seed)
    weights = torch.randn(3, 25, generator=seeded(seed))
    x_adv = pgd(
        lambda x: torch.sin(3 * x.flatten(1)) @ weights.T,
        x,
        y,
        attack(eps, alpha, steps, start, norm),
        seeded(seed),
    )
    assert inside(x_adv, x, eps, norm)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), eps=st.floats(0, 1))
def test_projection_is_idempotent_and_does_not_move_points_inside(seed: int, eps: float) -> None:
    x, _ = images(seed)
    anywhere = 4 * torch.randn(x.shape, generator=seeded(seed + 1))
    once = project(anywhere, x, eps)
    assert inside(once, x, eps)
    assert torch.equal(project(once, x, eps), once)
    assert torch.equal(project(x, x, eps), x)
    higher = project(anywhere + 0.1, x, eps)
    assert bool((higher >= once).all())


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), eps=st.floats(0, 1))
def test_l_inf_projection_is_to_the_bit_a_cut_to_the_ball_and_then_to_the_box(seed: int, eps: float) -> None:
    """The bounds are combined once in advance, which must not change a training."""
    x, _ = images(seed)
    anywhere = 2 * torch.randn(x.shape, generator=seeded(seed + 1))
    in_two_steps = torch.clamp(anywhere, min=x - eps, max=x + eps).clamp(0.0, 1.0)
    assert torch.equal(project(anywhere, x, eps), in_two_steps)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), eps=st.floats(0, 3))
def test_l2_projection_keeps_the_direction_and_does_not_move_points_inside(seed: int, eps: float) -> None:
    """The direction is kept where the box cuts nothing, and points that are inside do not move."""
    x, _ = images(seed)
    anywhere = 4 * torch.randn(x.shape, generator=seeded(seed + 1))
    once = project(anywhere, x, eps, "l2")
    assert inside(once, x, eps, "l2")
    torch.testing.assert_close(project(once, x, eps, "l2"), once, rtol=0, atol=2e-6)
    assert torch.equal(project(x, x, eps, "l2"), x)
    middle = torch.full_like(x, 0.5)
    delta = project(anywhere, middle, min(eps, 0.5), "l2") - middle
    expected = (anywhere - middle) / l2_norms(anywhere - middle) * min(eps, 0.5)
    torch.testing.assert_close(delta, expected, rtol=0, atol=SLACK)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_attack_with_eps_zero_changes_nothing(network: nn.Module, norm: Norm) -> None:
    x, y = images(7)
    assert torch.equal(pgd(network, x, y, attack(eps=0.0, random_start=True, norm=norm), seeded(0)), x)


def test_without_a_gradient_nothing_moves() -> None:
    x, y = images(7)
    for norm in ("linf", "l2"):
        x_adv = pgd(lambda x: 0.0 * x.flatten(1)[:, :3], x, y, attack(norm=norm), None)
        assert torch.equal(x_adv, x)


def test_a_random_start_in_l2_has_a_length_uniform_up_to_eps() -> None:
    x = torch.full((2000, 1, 5, 5), 0.5)
    away = l2_norms(random_start(x, 0.3, seeded(0), "l2") - x)
    assert away.max() <= 0.3 + SLACK
    assert away.min() < 0.001
    assert away.mean() == pytest.approx(0.15, abs=0.01)
    assert away.std() == pytest.approx(0.3 / 12**0.5, abs=0.005)


def test_a_random_start_in_l_inf_is_uniform_in_the_ball() -> None:
    x = torch.full((2000, 1, 1, 1), 0.5)
    noise = random_start(x, 0.1, seeded(0)) - x
    assert noise.abs().max() <= 0.1 + SLACK
    assert noise.min() < -0.099 and noise.max() > 0.099
    assert abs(noise.std() - 0.1 / 3**0.5) < 0.002


def test_pgd_changes_neither_its_inputs_nor_the_model_nor_global_randomness(network: nn.Module) -> None:
    x, y = images(8)
    before, state = x.clone(), torch.get_rng_state()
    for training in (True, False):
        network.train(training)
        with torch.no_grad():  # works, and has its own gradient, in here too
            x_adv = pgd(network, x, y, attack(random_start=True), seeded(1))
        assert network.training is training
    assert torch.equal(x, before) and not x.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    assert not x_adv.requires_grad and x_adv.grad_fn is None
    assert all(parameter.grad is None for parameter in network.parameters())


def test_equal_generators_give_equal_examples(network: nn.Module) -> None:
    x, y = images(9)
    first, again, other = (pgd(network, x, y, attack(steps=1, random_start=True), seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_without_a_generator_equal_calls_give_equal_examples(network: nn.Module, norm: Norm) -> None:
    """As in a notebook. The start is still random."""
    x, y = images(10)
    state = torch.get_rng_state()
    strength = Attack(eps=8 / 255, alpha=2 / 255, steps=0, norm=norm)
    first, again = pgd(network, x, y, strength), pgd(network, x, y, strength)
    assert torch.equal(first, again)
    assert not torch.equal(first, x)
    assert torch.equal(first, pgd(network, x, y, strength, seeded(0)))
    assert not torch.equal(first, pgd(network, x, y, strength, seeded(1)))
    assert torch.equal(torch.get_rng_state(), state)
