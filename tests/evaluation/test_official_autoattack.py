"""AutoAttack against the package of its authors (Croce and Hein 2020): flag by flag, part by part."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ssmlab.evaluation.evaluate import evaluate
from ssmlab.params import AutoAttackParams, Norm
from tests.evaluation.checks.models import digits, trained
from tests.probes.models import labelled_images, model_of

official = pytest.importorskip("pyautoattack", reason="pyautoattack is not installed: it is in the extra dev")

STEPS, QUERIES = 20, 200  # of the 100 and 5,000 of the standard ensemble, so that the test is short


def network() -> tuple[nn.Module, Tensor, Tensor]:
    x, y = digits()
    return trained().eval(), x[:60], y[:60]


def ssm() -> tuple[nn.Module, Tensor, Tensor]:
    model = model_of(mixer="s4", pointwise="gelu")
    return model.eval().requires_grad_(False), *labelled_images(model, 40)


# By name: the model with its images, the norm and eps. On 14 x 14 pixels neither Square in L2 has a start.
CASES: dict[str, tuple[Callable[[], tuple[nn.Module, Tensor, Tensor]], Norm, float]] = {
    "two layers": (network, "linf", 0.06),
    "s4": (ssm, "linf", 0.03),
    "s4 in l2": (ssm, "l2", 0.2),
}


def official_flags(model: nn.Module, x: Tensor, y: Tensor, eps: float, norm: Norm) -> Tensor:
    """Which images the authors' code leaves right: bool (N,)."""
    attack = official.AutoAttack(model, norm={"linf": "Linf", "l2": "L2"}[norm], eps=eps, seed=0, version="standard")
    attack.apgd.n_iter = attack.apgd_targeted.n_iter = attack.fab.n_iter = STEPS
    attack.square.n_queries = QUERIES
    targets = min(9, int(model(x[:1]).shape[1]) - 1)
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = targets
    x_adv, _ = attack.run_standard_evaluation(x, y, batch_size=50)
    right: Tensor = model(x_adv).argmax(dim=1) == y
    return right


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_autoattack_has_the_flags_of_its_authors_code_but_for_one_image(name: str) -> None:
    """Starts differ: ours are drawn for each image, theirs for the batch, so one on the edge may fall to one only."""
    make, norm, eps = CASES[name]
    model, x, y = make()
    spec = AutoAttackParams(kind="autoattack", steps=STEPS, queries=QUERIES, images="all", checkpoints=("best",))
    ours = evaluate(model, x, y, {"aa": spec}, eps, norm=norm).measures["aa"]
    flags = torch.tensor([flag == "1" for flag in ours.flags])
    theirs = official_flags(model, x, y, eps, norm)
    assert int((flags != theirs).sum()) <= 1
    assert 0.1 < ours.accuracy < 0.9
