"""Linear models: their exact robust accuracy against brute force, and every attack of ours against it."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from ssmlab.evaluation.attacks import run_attack
from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.victim import Victim
from ssmlab.params import AttackSpec, AutoAttackParams, FgsmParams, PgdParams
from ssmlab.params.written_float import WrittenFloat
from ssmlab.probes.linear import AffineMap, affine_map, exact_robust_accuracy, is_affine, worst_margins
from ssmlab.training.adversary import pgd
from ssmlab.training.attack import Attack
from tests.probes.models import labelled_images, model_of, params_of

EPS = 0.05


def eps_that_breaks_half(affine: AffineMap, x: Tensor, y: Tensor) -> float:
    """Midway between the images it just breaks and just does not, so that float32 gives the same flags as float64."""

    def border(share: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if exact_robust_accuracy(affine, x, y, middle) > share else (low, middle)
        return low

    return (border(0.5) + border(0.5 - 1 / len(x))) / 2


def test_an_image_on_the_decision_boundary_is_not_robust() -> None:
    tied = AffineMap(torch.zeros(2, 4, dtype=torch.float64), torch.zeros(2, dtype=torch.float64))
    assert exact_robust_accuracy(tied, torch.rand(3, 4), torch.zeros(3, dtype=torch.int64), 0.0) == 0.0


@pytest.mark.parametrize("mixer", ["s4", "dss", "s5"])
def test_the_affine_map_is_the_model(mixer: str) -> None:
    model = model_of(norm="none", mixer=mixer)
    x, _ = labelled_images(model)
    affine = affine_map(model)
    with torch.no_grad():
        torch.testing.assert_close(
            (x.flatten(1).double() @ affine.weight.t() + affine.bias).float(), model(x), rtol=1e-4, atol=1e-4
        )


def test_a_model_with_a_norm_or_a_nonlinearity_is_not_affine() -> None:
    assert is_affine(params_of(norm="none"))
    for change in (
        {"norm": "layer"},
        {"pointwise": "gelu"},
        {"output": "glu"},
        {"mixer": "mamba"},
        {"enhancement": "ads", "ads": {"act": "relu", "parts": "both"}},
    ):
        assert not is_affine(params_of(**{"norm": "none", **change}))


def test_the_worst_margin_is_that_of_the_worst_corner_of_the_box() -> None:
    generator = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(3, 6, generator=generator).double(), torch.randn(3, generator=generator).double()
    x = torch.tensor([[0.0, 1.0, 0.02, 0.97, 0.5, 0.3]])
    for label in range(3):
        corners = []
        for signs in product((-1.0, 1.0), repeat=6):
            moved = (x + EPS * torch.tensor(signs)).clamp(0, 1).double()
            logits = (moved @ weight.t() + bias)[0]
            corners.append(min(float(logits[label] - logits[other]) for other in range(3) if other != label))
        found = worst_margins(AffineMap(weight, bias), x, torch.tensor([label]), EPS)
        assert float(found) == pytest.approx(min(corners), abs=1e-6)


@pytest.mark.parametrize("mixer", ["s4", "dss", "s5"])
@pytest.mark.parametrize(
    "spec",
    [
        FgsmParams(kind="fgsm", images="all", checkpoints=("best",)),
        PgdParams(
            kind="pgd", images="all", checkpoints=("best",), alpha=WrittenFloat("0.01"), steps=10, random_start=True
        ),
        AutoAttackParams(kind="autoattack", images="all", checkpoints=("best",), steps=10, queries=100),
    ],
    ids=lambda spec: spec.kind,
)
def test_no_judging_attack_breaks_an_image_that_is_proved_robust(mixer: str, spec: AttackSpec) -> None:
    model = model_of(norm="none", mixer=mixer)
    x, y = labelled_images(model, 60)
    affine = affine_map(model)
    eps = eps_that_breaks_half(affine, x, y)
    margins = worst_margins(affine, x, y, eps)
    survivors = run_attack(spec, Victim(model.freeze(), torch.device("cpu")), x, y, Ball(eps), 5, seed=0)
    proved = margins > 1e-4  # float32 decides the closest ones
    assert 0.3 < float(proved.double().mean()) < 0.7
    assert bool(survivors.right[proved].all())


@pytest.mark.parametrize("mixer", ["s4", "dss", "s5"])
def test_pgd_on_each_margin_reaches_the_exact_number(mixer: str) -> None:
    """A linear margin has one direction, so a full step along it is the best perturbation there is."""
    model = model_of(norm="none", mixer=mixer)
    x, y = labelled_images(model)
    affine = affine_map(model)
    eps = eps_that_breaks_half(affine, x, y)
    margins = worst_margins(affine, x, y, eps)
    frozen, found = model.freeze(), torch.full((len(x),), torch.inf)
    for other in range(5):

        def negative_margin(logits: Tensor, labels: Tensor, other: int = other) -> Tensor:
            return (logits[:, other] - logits.gather(1, labels[:, None])[:, 0]).sum()

        attack = Attack(eps=eps, alpha=eps, steps=2, random_start=False)
        logits = frozen(pgd(frozen, x, y, attack, loss=negative_margin)).detach()
        margin = logits.gather(1, y[:, None])[:, 0] - logits[:, other]
        found = torch.where(y == other, found, torch.minimum(found, margin))
    torch.testing.assert_close(found.double(), margins, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("classes", [2, 5])
def test_training_pgd_is_never_below_the_exact_number_and_reaches_it_for_two_classes(classes: int) -> None:
    """With more classes the cross-entropy pulls towards all of them at once, and PGD can miss the nearest border."""
    model = model_of(classes, norm="none")
    x, y = labelled_images(model)
    affine = affine_map(model)
    eps = eps_that_breaks_half(affine, x, y)
    x_adv = pgd(model.freeze(), x, y, Attack(eps=eps, alpha=eps / 4, steps=20))
    with torch.no_grad():
        measured = float((model(x_adv).argmax(1) == y).double().mean())
    exact = exact_robust_accuracy(affine, x, y, eps)
    assert exact <= measured <= exact + (0.005 if classes == 2 else 0.1)
