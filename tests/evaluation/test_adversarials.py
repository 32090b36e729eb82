"""Saved images agree with the flags, and a model that classifies them differently in another batch is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ssmlab.core.errors import UserError
from ssmlab.evaluation.adversarials import AdversarialFolder, recheck_adversarials
from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.evaluate import evaluate
from ssmlab.evaluation.tasks import AttackOutcome, AttackTask
from ssmlab.evaluation.token_attack import searched_ball
from ssmlab.params import AttackSpec, FmnParams, Norm, PgdParams, ScreenedAutoAttackParams, TokenParams
from ssmlab.params.written_float import WrittenFloat

EVERYTHING: dict[str, Any] = {"images": "all", "checkpoints": ("best",)}
ATTACKS: dict[str, AttackSpec] = {
    "pgd": PgdParams(kind="pgd", alpha=WrittenFloat(0.02), steps=4, random_start=True, **EVERYTHING),
    "few": PgdParams(kind="pgd", alpha=WrittenFloat(0.02), steps=4, random_start=True, images=7, checkpoints=("best",)),
    "fmn": FmnParams(kind="fmn", steps=20, **EVERYTHING),
    "screened": ScreenedAutoAttackParams(kind="screened-autoattack", steps=3, queries=10, survivors=4, **EVERYTHING),
}


def network() -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.GELU(), nn.Linear(8, 5))
    for parameter in model.parameters():
        parameter.data = 0.4 * torch.randn(parameter.shape, generator=generator)
    return model


def images() -> tuple[Tensor, Tensor]:
    """Images with their classes, but for the first two."""
    x = torch.rand(23, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    y = network()(x).argmax(dim=1)
    y[:2] = (y[:2] + 1) % 5
    return x, y


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.05), ("l2", 0.4)])
def test_kept_images_lie_in_the_ball_and_give_the_flags_in_any_batch(tmp_path: Path, norm: Norm, eps: float) -> None:
    model, (x, y) = network(), images()
    kept = AdversarialFolder(tmp_path / "kept", "ab")
    found = evaluate(model, x, y, ATTACKS, eps, norm=norm, batch_size=9, save_adversarials=kept)
    assert found == evaluate(model, x, y, ATTACKS, eps, norm=norm, batch_size=9)
    for name in ATTACKS:
        tensors, measure = load_file(kept.path / f"{name}.safetensors"), found.measures[name]
        assert "".join(str(int(flag)) for flag in tensors["right"]) == measure.flags
        assert tensors["x_adv"].dtype == torch.float32
        assert tensors["x"].equal(x[: measure.n])
        assert (model(tensors["x_adv"]).argmax(dim=1) == y[: measure.n]).equal(tensors["right"])
        assert Ball(eps, norm).contains(tensors["x_adv"], tensors["x"]).all()
        assert 0 < measure.correct < measure.n
    for batch_size in (1, 5, 23):
        again = recheck_adversarials(model, kept, batch_size)
        assert {each.attack for each in again} == set(ATTACKS)
        assert all((each.changed, each.warning, each.now) == (0, "", each.before) for each in again)


def test_a_model_whose_answers_depend_on_the_batch_is_unstable(tmp_path: Path) -> None:
    honest, (x, y) = network(), images()

    class Shifts(nn.Module):
        """Negates the logits in batches of fewer than six."""

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = honest(x)
            return -logits if len(x) < 6 else logits

    y[0] = honest(x[:1]).argmin()  # wrong at first, and right in a small batch
    kept = AdversarialFolder(tmp_path)
    before = evaluate(honest, x, y, {"pgd": ATTACKS["pgd"]}, 0.05, save_adversarials=kept).measures["pgd"].flags
    now = (-honest(load_file(tmp_path / "pgd.safetensors")["x_adv"])).argmax(dim=1) == y
    (stable,) = recheck_adversarials(Shifts(), kept, 23)
    assert stable.warning == ""
    (found,) = recheck_adversarials(Shifts(), kept, 5)
    assert found.changed == sum(flag != str(int(right)) for flag, right in zip(before, now.tolist(), strict=True))
    assert found.changed > abs(found.now - found.before) > 0  # some flags changed in either direction
    assert found.warning == f"pgd: unstable: {found.changed} of 23 saved images have another flag in other batches"


def test_images_that_are_damaged_of_another_checkpoint_or_absent_are_refused_in_one_line(tmp_path: Path) -> None:
    model, (x, y) = network(), images()
    kept = AdversarialFolder(tmp_path, "ab")
    with pytest.raises(UserError, match="no adversarial images there"):
        recheck_adversarials(model, kept, 5)
    with pytest.raises(UserError, match="'a b' cannot be a file name"):
        evaluate(model, x, y, {"a b": ATTACKS["pgd"]}, 0.05, save_adversarials=kept)
    evaluate(model, x, y, {"pgd": ATTACKS["pgd"]}, 0.05, save_adversarials=kept)
    with pytest.raises(UserError, match="these images are for another checkpoint"):
        recheck_adversarials(model, AdversarialFolder(tmp_path, "cd"), 5)
    file = tmp_path / "pgd.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(UserError, match="its content does not match its digest"):
        recheck_adversarials(model, kept, 5)


@pytest.mark.parametrize(
    ("spec", "pixels", "says"),
    [
        (ATTACKS["pgd"], [0], "an image is outside the ball of eps 0.05 or"),
        (
            TokenParams(kind="token", patch=4, positions=1, steps=1, **EVERYTHING),
            [0, 7],
            "in more than one patch of side 4",
        ),
    ],
)
def test_saved_images_that_no_attack_may_make_are_refused(
    tmp_path: Path, spec: AttackSpec, pixels: list[int], says: str
) -> None:
    """Written as if an attack had gone too far on the second of two images.

    It moved pixels of the first row by 0.5, of which 0 and 7 are in two patches.
    """
    model, (x, y) = network(), images()
    x, y = x[2:4], y[2:4]
    x_adv = x.clone()
    x_adv[1, 0, 0, pixels] = (x_adv[1, 0, 0, pixels] + 0.5) % 1
    task = AttackTask("model", "pgd", spec, 0, (0, 1), 5, (1, 8, 8))
    outcome = AttackOutcome(task, (), {}, 0, 0, 1, x_adv=x_adv)
    kept = AdversarialFolder(tmp_path)
    kept.write("pgd", x, y, "00", [outcome], searched_ball(spec, Ball(0.05)))
    with pytest.raises(UserError, match=says):
        recheck_adversarials(model, kept, 5)
