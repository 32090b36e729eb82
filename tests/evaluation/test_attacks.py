"""The attacks of an evaluation: their settings, and which of their results are trusted."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
import torchattacks
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ssmlab.evaluation.attack_names import parse_attack
from ssmlab.evaluation.attacks import (
    check_confined,
    forked_generators,
    run_attack,
)
from ssmlab.evaluation.ball import ROUNDING, Ball
from ssmlab.evaluation.evaluate import evaluate
from ssmlab.evaluation.inputs import CallableModel
from ssmlab.evaluation.kinds import attack_of
from ssmlab.evaluation.victim import Victim
from ssmlab.params import AutoAttackParams, PgdParams
from ssmlab.params.written_float import WrittenFloat

CPU = torch.device("cpu")
EVERYTHING = {"images": "all", "checkpoints": ("best",)}


def linear(classes: int, side: int = 6, seed: int = 0) -> nn.Sequential:
    """A linear classifier of (1, side, side) images, with weights of its own generator."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(side * side, classes))
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return model.requires_grad_(False)


class Bright(nn.Module):
    """Class 0 for images that are brighter than 0.1 on average, class 1 for others."""

    def forward(self, x: Tensor) -> Tensor:
        bright = x.flatten(1).mean(dim=1) - 0.1
        return torch.stack([bright, -bright, bright - 9, bright - 9], dim=1)


def test_autoattack_has_the_published_settings() -> None:
    spec = parse_attack("autoattack", 0.1)
    assert isinstance(spec, AutoAttackParams)
    assert spec.standard
    built = attack_of(spec).parts(Victim(linear(10), CPU), Ball(0.1), 10, seed=7)
    kinds = (torchattacks.APGD, torchattacks.APGDT, torchattacks.FAB, torchattacks.Square)
    assert all(isinstance(part, kind) for part, kind in zip(built.values(), kinds, strict=True))
    apgd, apgdt, fab, square = built.values()
    for part in built.values():
        assert (part.norm, part.eps, part.n_restarts, part.seed, part.verbose) == ("Linf", 0.1, 1, 7, False)
    for part in (apgd, apgdt):
        assert (part.steps, part.eot_iter, part.thr_decr) == (100, 1, 0.75)
    assert apgd.loss == "ce"
    assert apgdt.n_target_classes == fab.n_target_classes == 9
    assert fab.multi_targeted
    assert (fab.steps, fab.alpha_max, fab.eta, fab.beta) == (100, 0.1, 1.05, 0.9)
    assert (square.n_queries, square.p_init, square.loss, square.rescale_schedule) == (5000, 0.8, "margin", False)


@pytest.mark.parametrize(("classes", "targets"), [(4, 3), (10, 9), (200, 9)])
def test_targets_are_nine_or_all_wrong_classes(classes: int, targets: int) -> None:
    built = attack_of(parse_attack("autoattack", 0.1)).parts(Victim(linear(classes), CPU), Ball(0.1), classes, seed=0)
    assert built["apgd-t"].n_target_classes == built["fab-t"].n_target_classes == targets


@pytest.mark.parametrize(("steps", "queries"), [(99, 5000), (101, 5000), (100, 4999), (100, 5001)])
def test_other_settings_are_not_called_standard(steps: int, queries: int) -> None:
    assert not AutoAttackParams(kind="autoattack", steps=steps, queries=queries, **EVERYTHING).standard


def test_fgsm_and_pgd_take_their_parameters() -> None:
    victim = Victim(linear(3), CPU)
    assert attack_of(parse_attack("fgsm", 0.1)).parts(victim, Ball(0.1), 3, seed=0)["fgsm"].eps == 0.1
    spec = PgdParams(kind="pgd", alpha=WrittenFloat("2/255"), steps=7, random_start=False, **EVERYTHING)
    pgd = attack_of(spec).parts(victim, Ball(0.1), 3, seed=0)["pgd"]
    assert (pgd.eps, pgd.alpha, pgd.steps, pgd.random_start) == (0.1, 2 / 255, 7, False)


pixel = st.floats(-0.5, 1.5, width=32)


@given(
    st.lists(st.tuples(st.floats(0.0, 1.0, width=32), pixel), min_size=3, max_size=3),
    st.floats(0.0, 0.5, width=32),
)
@settings(deadline=None, max_examples=25)
def test_check_confined_returns_images_in_the_ball_or_the_clean_image(
    pairs: list[tuple[float, float]], eps: float
) -> None:
    x = torch.tensor([before for before, _ in pairs]).view(3, 1, 1, 1)
    x_adv = torch.tensor([after for _, after in pairs]).view(3, 1, 1, 1)
    checked, inside = check_confined(x, x_adv, Ball(eps))
    for row, (before, after) in enumerate(pairs):
        excess = max(abs(after - before) - eps, -after, after - 1.0)
        if abs(excess - ROUNDING) > 2e-7:  # within rounding of the tolerance both answers are correct
            assert bool(inside[row]) == (excess <= ROUNDING)
        wanted = min(max(after, before - eps, 0.0), before + eps, 1.0) if inside[row] else before
        assert checked[row].item() == pytest.approx(wanted, abs=2e-7)
    assert checked.is_contiguous()
    assert 0.0 <= checked.min() <= checked.max() <= 1.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_check_confined_refuses_images_that_are_not_finite(bad: float) -> None:
    x = torch.full((2, 1, 2, 2), 0.5)
    x_adv = x.clone()
    x_adv[1, 0, 0, 0] = bad
    checked, inside = check_confined(x, x_adv, Ball(0.1))
    assert inside.tolist() == [True, False]
    assert checked.equal(x)


def test_an_attack_that_leaves_the_ball_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = linear(2)
    x = torch.full((4, 1, 6, 6), 0.5)
    y = model(x).argmax(dim=1)
    direction = (model[1].weight[1 - y[0]] - model[1].weight[y[0]]).sign().view(1, 6, 6)

    def cheat(self: object, images: Tensor, labels: Tensor) -> Tensor:
        far = images.clone()
        far[:3] += 0.4 * direction
        return far

    monkeypatch.setattr(torchattacks.FGSM, "forward", cheat)
    victim = Victim(model, CPU)
    assert not victim.is_right(cheat(None, x, y)[:3], y[:3]).any()
    verdict = run_attack(parse_attack("fgsm", 0.1), victim, x, y, Ball(0.1), 2, seed=0)
    assert verdict.right.all()
    assert verdict.escaped == 3
    verdict = run_attack(parse_attack("fgsm", 0.4), victim, x, y, Ball(0.4), 2, seed=0)
    assert verdict.right.tolist() == [False, False, False, True]
    assert verdict.escaped == 0


def test_success_is_judged_on_the_returned_image_and_not_by_the_attack_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchattacks.FGSM, "forward", lambda self, images, labels: images)
    model = linear(2)
    x = torch.rand(5, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    verdict = run_attack(parse_attack("fgsm", 0.1), Victim(model, CPU), x, model(x).argmax(dim=1), Ball(0.1), 2, seed=0)
    assert verdict.right.all()


def test_a_part_sees_only_what_the_parts_before_it_left(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, int] = {}

    def breaks_first(kind: type) -> None:
        def forward(self: object, images: Tensor, labels: Tensor) -> Tensor:
            seen[kind.__name__] = len(images)
            changed = images.clone()
            changed[0] = 0.0
            return changed

        monkeypatch.setattr(kind, "forward", forward)

    for kind in (torchattacks.APGD, torchattacks.APGDT, torchattacks.FAB, torchattacks.Square):
        breaks_first(kind)

    x, y = torch.full((6, 1, 2, 2), 0.2), torch.zeros(6, dtype=torch.int64)
    verdict = run_attack(parse_attack("autoattack", 0.2), Victim(Bright(), CPU), x, y, Ball(0.2), 4, seed=0)
    assert seen == {"APGD": 6, "APGDT": 5, "FAB": 4, "Square": 3}
    assert verdict.after == {"apgd-ce": 5, "apgd-t": 4, "fab-t": 3, "square": 2}
    assert verdict.right.tolist() == [False] * 4 + [True] * 2


def test_an_attack_on_no_images_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchattacks.APGD, "forward", lambda self, images, labels: torch.zeros_like(images))
    x, y = torch.full((2, 1, 2, 2), 0.2), torch.zeros(2, dtype=torch.int64)
    verdict = run_attack(parse_attack("autoattack", 0.2), Victim(Bright(), CPU), x, y, Ball(0.2), 4, seed=0)
    assert verdict.after == {"apgd-ce": 0, "apgd-t": 0, "fab-t": 0, "square": 0}


def test_an_image_that_is_broken_in_one_batch_and_right_in_another_is_unstable() -> None:
    """The class depends on how many images there are in the batch."""
    x, y = torch.full((4, 1, 2, 2), 0.5), torch.zeros(4, dtype=torch.int64)

    def counts(x: Tensor) -> Tensor:
        wrong = float(len(x) == 4)
        return torch.tensor([[0.5, wrong]]).expand(len(x), 2) + 0.0 * x.flatten(1)[:, :2]

    found = run_attack(parse_attack("fgsm", 0.1), Victim(CallableModel(counts), CPU), x, y, Ball(0.1), 2, seed=0)
    assert not found.right.any()
    assert found.unstable == 4
    model = linear(2)
    y = model(torch.rand(4, 1, 6, 6)).argmax(dim=1)
    honest = run_attack(
        parse_attack("fgsm", 0.5), Victim(model, CPU), torch.full((4, 1, 6, 6), 0.5), y, Ball(0.5), 2, seed=0
    )
    assert honest.unstable == 0


def test_instability_is_a_warning() -> None:
    x, y = torch.full((4, 1, 2, 2), 0.5), torch.zeros(4, dtype=torch.int64)
    seen: list[int] = []

    def turns(x: Tensor) -> Tensor:
        wrong = float(len(x) == 4 and x.min() > 0.5)
        seen.append(len(x))
        return torch.tensor([[0.5, 0.0]]).expand(len(x), 2) + torch.tensor([[-1.0, 1.0]]) * (
            wrong + x.mean(dim=(1, 2, 3))[:, None] - 0.5
        )

    found = evaluate(CallableModel(turns), x, y, ["fgsm"], 0.1)
    assert 2 in seen
    assert found.measures["fgsm"].correct == 0
    assert any("unstable: 4 broken images are classified correctly" in warning for warning in found.warnings)


def test_logits_that_are_not_finite_are_wrong() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([[float("nan"), 0.0], [float("inf"), 0.0], [1.0, 0.0]])

    right = Victim(Broken(), CPU).is_right(torch.zeros(3, 1, 2, 2), torch.zeros(3, dtype=torch.int64))
    assert right.tolist() == [False, False, True]


@pytest.mark.parametrize("logit", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_recorded_as_larger_than_one_that_is(logit: float) -> None:
    victim = Victim(nn.Flatten(), CPU)
    victim.labels = torch.zeros(1, dtype=torch.int64)
    for value in (1e9, logit):
        victim(torch.tensor([[0.0, value]]))
    assert victim.losses[0] == pytest.approx(1e9)
    assert 1e9 < victim.losses[1] < float("inf")


def test_a_model_without_parameters_is_attacked_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    x = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    run_attack(
        parse_attack("pgd-2", 0.1), Victim(nn.Flatten(), CPU), x, nn.Flatten()(x).argmax(dim=1), Ball(0.1), 4, seed=0
    )
    assert capfd.readouterr() == ("", "")


def test_the_victim_is_watched_and_knows_its_place() -> None:
    ticks: list[int] = []
    victim = Victim(linear(3), CPU, lambda: ticks.append(1))
    victim(torch.zeros(1, 1, 6, 6))
    assert len(ticks) == 1
    assert next(victim.parameters()) is victim.place


def test_an_attack_leaves_the_global_generators_as_they_were() -> None:
    before = torch.get_rng_state()
    with forked_generators():
        torch.manual_seed(3)
        torch.rand(5)
    assert torch.get_rng_state().equal(before)


def test_stronger_attacks_are_expected_to_cost_more() -> None:
    names = ("fgsm", "pgd-2", "pgd-10", "pgd-100", "autoattack")
    costs = [attack_of(parse_attack(name, 0.1)).passes(10, 0, 1) for name in names]
    assert costs == sorted(costs)


def test_torchattacks_frees_a_model_at_garbage_collection() -> None:
    model = linear(4)
    victim = Victim(model, CPU)
    attack_of(parse_attack("autoattack", 0.1)).parts(victim, Ball(0.1), 4, seed=0)
    gone = weakref.ref(model)
    del model, victim
    gc.collect()
    assert gone() is None
