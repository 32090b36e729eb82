"""Random starts depend on the image: batches and order do not change results."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchattacks
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ssmlab.evaluation.evaluate import evaluate
from ssmlab.evaluation.image_noise import NoiseOfImages, image_noise
from ssmlab.evaluation.library_attacks import Pgd
from ssmlab.evaluation.victim import Victim
from ssmlab.params import AttackSpec, AutoAttackParams, FgsmParams, Norm, PgdParams, SquareParams
from ssmlab.params.written_float import WrittenFloat

EVERYTHING: dict[str, Any] = {"images": "all", "checkpoints": ("best",)}
ATTACKS: dict[str, AttackSpec] = {
    "fgsm": FgsmParams(kind="fgsm", **EVERYTHING),
    "noise": PgdParams(kind="pgd", alpha=WrittenFloat(0.0), steps=1, random_start=True, **EVERYTHING),
    "pgd": PgdParams(kind="pgd", alpha=WrittenFloat(0.01), steps=3, random_start=True, **EVERYTHING),
    "aa": AutoAttackParams(kind="autoattack", steps=3, queries=15, **EVERYTHING),
    "square": SquareParams(kind="square", queries=30, **EVERYTHING),
}


def images(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(seed))


class Net(nn.Module):
    """A nonlinear, fragile model that computes each image separately in float64, so batches do not change rounding."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = 0.7 * torch.randn(36, 8, generator=generator, dtype=torch.float64)
        self.head = torch.randn(8, 5, generator=generator, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        hidden = (x.double().flatten(1)[:, :, None] * self.weight).sum(dim=1).sin()  # (B, 8)
        return (hidden[:, :, None] * self.head).sum(dim=1)  # (B, 5)


@pytest.mark.parametrize(("norm", "eps", "alpha"), [("linf", 0.02, 0.01), ("l2", 0.2, 0.1)])
@given(order=st.permutations(range(13)), batch_size=st.integers(1, 13))
@settings(deadline=None, max_examples=8)
def test_neither_batch_size_nor_order_changes_a_flag(
    norm: Norm, eps: float, alpha: float, order: list[int], batch_size: int
) -> None:
    model, x = Net(), images(13)
    y = model(x).argmax(dim=1)
    pgd = PgdParams(kind="pgd", alpha=WrittenFloat(alpha), steps=3, random_start=True, **EVERYTHING)
    attacks = {**ATTACKS, "pgd": pgd}
    whole = evaluate(model, x, y, attacks, eps, norm=norm, batch_size=13)
    cut = evaluate(model, x[order], y[order], attacks, eps, norm=norm, batch_size=batch_size)
    for name in ATTACKS:
        expected = "".join(whole.measures[name].flags[row] for row in order)
        assert cut.measures[name].flags == expected, name
    assert 0 < whole.measures["pgd"].correct < 13
    assert whole.measures["noise"].correct > 0


def test_starts_differ_between_images_seeds_and_starts_but_not_between_equal_ones() -> None:
    x = images(3)
    noise = image_noise(x, x.shape, 0, "start 1")
    assert noise.equal(image_noise(x.clone(), x.shape, 0, "start 1"))
    assert noise[1:].equal(image_noise(x[1:], x[1:].shape, 0, "start 1"))
    assert len({float(row.sum()) for row in noise}) == 3
    assert not noise.equal(image_noise(x, x.shape, 1, "start 1"))
    assert not noise.equal(image_noise(x, x.shape, 0, "start 2"))


def test_noise_of_images_is_uniform() -> None:
    numbers = image_noise(images(200), torch.Size((200, 1, 6, 6)), 0, "start 1").flatten().double()
    assert 0.0 <= numbers.min() <= numbers.max() < 1.0
    assert abs(float(numbers.mean()) - 0.5) < 4 * (1 / 12) ** 0.5 / len(numbers) ** 0.5
    histogram = torch.histc(numbers, bins=20, min=0.0, max=1.0)
    assert float(((histogram - 360) ** 2 / 360).sum()) < 45.3  # chi-squared with 19 degrees of freedom, p = 0.0006


def test_only_numbers_of_one_row_an_image_are_replaced() -> None:
    x = images(3)
    torch.manual_seed(0)
    expected = torch.rand(3, 5)
    torch.manual_seed(0)
    with NoiseOfImages(x, 0, "start 1"):
        assert torch.rand([3, 5]).equal(expected)
        assert torch.rand([3, 2, 4, 4]).equal(image_noise(x, torch.Size((3, 2, 4, 4)), 0, "start 1"))
        filled = torch.empty(3, 1, 6, 6).uniform_(-0.1, 0.1)
        normal = torch.randn([3, 1, 6, 6])
    assert filled.equal(-0.1 + 0.2 * image_noise(x, x.shape, 0, "start 1, draw 2"))
    assert normal.equal(image_noise(x, x.shape, 0, "start 1, draw 3", draw=torch.randn))


def test_a_model_draws_its_own_numbers() -> None:
    drawn: list[Tensor] = []

    def random_model(x: Tensor) -> Tensor:
        drawn.append(torch.rand(x.shape))
        return x.flatten(1)[:, :3]

    x = images(2)
    attack = Pgd(Victim(nn.Flatten(), torch.device("cpu")), 0, eps=0.1, alpha=0.1, steps=2, random_start=True)
    attack.get_logits.__self__.model.model.forward = random_model
    attack(x, torch.zeros(2, dtype=torch.int64))
    assert len(drawn) == 2
    assert not drawn[0].equal(drawn[1])


@pytest.mark.parametrize("steps", [1, 7])
def test_pgd_without_a_random_start_is_that_of_torchattacks(steps: int) -> None:
    victim, x = Victim(Net(), torch.device("cpu")), images(6)
    y = Net()(x).argmax(dim=1)
    settings_ = {"eps": 0.05, "alpha": 0.02, "steps": steps, "random_start": False}
    assert Pgd(victim, 0, **settings_)(x, y).equal(torchattacks.PGD(victim, **settings_)(x, y))


def test_pgd_from_the_numbers_that_torchattacks_draws_is_that_of_torchattacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the random numbers are ours."""
    victim, x = Victim(Net(), torch.device("cpu")), images(6)
    y = Net()(x).argmax(dim=1)
    settings_ = {"eps": 0.05, "alpha": 0.02, "steps": 5, "random_start": True}
    ours = Pgd(victim, 0, **settings_)(x, y)
    start = image_noise(x, x.shape, 0, "start 1")
    monkeypatch.setattr(Tensor, "uniform_", lambda self, low, high: self.copy_(low + (high - low) * start))
    assert ours.equal(torchattacks.PGD(victim, **settings_)(x, y))
