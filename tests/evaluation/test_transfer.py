"""Transfer between models: against a closed form, our own PGD, `evaluate`, and a model with masked gradients."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssmlab.core.digest import sealed_json
from ssmlab.core.errors import UserError
from ssmlab.core.events import Event, Progress
from ssmlab.evaluation.attack_names import parse_attack
from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.evaluate import evaluate
from ssmlab.evaluation.protocol import Data, radius
from ssmlab.evaluation.tasks import AttackInputs, AttackRunner
from ssmlab.evaluation.transfer import transfers_between, withstood_by
from ssmlab.evaluation.transfer_results import (
    Transfer,
    TransferResults,
    broken_images,
    load_transfer,
    save_transfer,
    transfer_checks,
    transfer_of,
)
from ssmlab.params import PgdParams
from ssmlab.params.written_float import WrittenFloat
from ssmlab.training.adversary import pgd
from ssmlab.training.attack import Attack
from tests.evaluation.checks.models import EPS, Function, digits, trained

CPU = torch.device("cpu")


def inputs(models: dict[str, nn.Module], x: Tensor, y: Tensor, eps: float = EPS) -> AttackInputs:
    return AttackInputs(models, x, y, Ball(eps), 0, CPU)


def text(right: Tensor) -> str:
    return "".join(str(int(flag)) for flag in right)


def linear_of_two(seed: int) -> nn.Sequential:
    """Two classes, without an offset that would let one of them win everywhere."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    model[1].weight.data = torch.randn(2, 64, generator=torch.Generator().manual_seed(seed))
    model[1].bias.data = -model[1].weight.data.sum(1) / 2
    return model.requires_grad_(False)


def test_one_step_between_linear_models_breaks_what_the_closed_form_says() -> None:
    """The source's step is eps sign(w): it lowers the target's margin by eps w_target sign(w_source)."""
    eps, models = 0.05, {"a": linear_of_two(0), "b": linear_of_two(1)}
    x = 0.1 + 0.8 * torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(2))  # no pixel meets 0 or 1
    y = torch.arange(200) % 2
    found = transfers_between(inputs(dict(models), x, y, eps), "fgsm", parse_attack("fgsm", eps), 64).transfers
    signs = (2 * y - 1).double()  # (200,)
    seen = set()
    for each in found:
        (w, b), (source, _) = (
            (
                (models[name][1].weight[1] - models[name][1].weight[0]).double(),
                (models[name][1].bias[1] - models[name][1].bias[0]).double(),
            )
            for name in (each.target, each.source)
        )
        margin = signs * (x.flatten(1).double() @ w + b) - eps * (w * source.sign()).sum()  # (200,)
        assert each.flags == text(margin > 0)
        seen.add(each.broken)
    assert len(found) == 4 and len(seen) > 2


def test_pgd_between_networks_breaks_what_our_own_pgd_breaks() -> None:
    """torchattacks' images and those of the training attack, which shares no code with it, have equal flags."""
    x, y = (each[:60] for each in digits())
    models: dict[str, nn.Module] = {"clean": trained(), "robust": trained(robust=True)}
    spec = PgdParams(
        kind="pgd", alpha=WrittenFloat(0.02), steps=8, random_start=False, images="all", checkpoints=("best",)
    )
    found = transfers_between(inputs(models, x, y), "pgd-8", spec, 25)
    for each in found.transfers:
        source, target = models[each.source], models[each.target]
        x_adv = pgd(source, x, y, Attack(EPS, 0.02, 8, random_start=False))
        assert each.flags == text(target(x_adv).argmax(1) == y)
        assert found.clean[each.target] == text(target(x).argmax(1) == y)


def test_an_attack_on_the_model_itself_is_that_of_evaluate() -> None:
    x, y = (each[:80] for each in digits())
    found = transfers_between(
        inputs({"a": trained(), "b": trained(robust=True)}, x, y), "pgd-5", parse_attack("pgd-5", EPS), 32
    )
    for name, model in (("a", trained()), ("b", trained(robust=True))):
        measures = evaluate(model, x, y, attacks=["pgd-5"], eps=EPS, batch_size=50).measures
        (own,) = (each for each in found.transfers if (each.source, each.target) == (name, name))
        assert measures["clean"].flags == found.clean[name]
        assert measures["pgd-5"].flags == text(
            torch.tensor([a == b == "1" for a, b in zip(found.clean[name], own.flags, strict=True)])
        )


def test_the_batch_size_changes_no_flag() -> None:
    x, y = (each[:50] for each in digits())
    models: dict[str, nn.Module] = {"a": trained(), "b": trained(robust=True)}
    spec = parse_attack("pgd-3", EPS)
    assert transfers_between(inputs(models, x, y), "pgd-3", spec, 50) == transfers_between(
        inputs(models, x, y), "pgd-3", spec, 7
    )


def test_images_made_on_a_normal_model_reveal_a_model_without_gradients() -> None:
    """The same network without a gradient: its own PGD breaks almost nothing, PGD on the normal copy breaks most."""
    x, y = (each[:100] for each in digits())
    models: dict[str, nn.Module] = {
        "honest": trained(),
        "robust": trained(robust=True),
        "masked": Function(lambda x, model: model(x.detach())),
    }
    found = transfers_between(inputs(models, x, y), "pgd-10", parse_attack("pgd-10", EPS), 50)
    checks = transfer_checks(found.withstood, found.transfers, "pgd-10")
    assert [name for name, check in checks.items() if check.raised] == ["masked"]
    assert checks["masked"].value > 50
    assert checks["masked"].sentence.startswith("pgd-10 on honest breaks ")
    assert checks["masked"].sentence.endswith("PGD-50 on masked itself breaks: its gradients may be masked")


@pytest.mark.parametrize("saturated", [False, True])
def test_the_second_look_removes_exactly_the_images_that_stronger_attacks_on_the_model_break(saturated: bool) -> None:
    """As if its own attack had broken none of the first 60 images, and another model's attack all of the first 40.

    Where the cross entropy is saturated, only PGD on the margin breaks most images.
    """
    x, y = (each[:60] for each in digits())
    model = Function(lambda x, model: 10_000 * model(x)) if saturated else trained(robust=True)
    runner = AttackRunner(inputs({"a": model}, x, y))
    clean = text(runner.clean("a", 60).right)
    found = made_up({("a", "a"): clean, ("b", "a"): "0" * 40 + clean[40:]}, {"a": clean})
    strong = [
        PgdParams(
            kind="pgd",
            alpha=WrittenFloat(2.5 * EPS / 50),
            steps=50,
            random_start=True,
            loss=loss,
            images="all",
            checkpoints=("best",),
        )
        for loss in (None, "margin")
    ]
    by_loss = [broken_images(clean, transfers_between_itself(model, x, y, spec)[1]) for spec in strong]
    assert (by_loss[1] > by_loss[0]) == saturated
    fallen = set.union(*by_loss)
    expected = "".join("0" if row in fallen and row < 40 else flag for row, flag in enumerate(clean))
    assert "0" in expected[:40] and fallen - set(range(40))
    assert withstood_by(runner, "a", clean, found, 10) == expected


def transfers_between_itself(model: nn.Module, x: Tensor, y: Tensor, spec: PgdParams) -> tuple[str, str]:
    """The flags of a model on clean images, and after its own attack."""
    found = transfers_between(inputs({"a": model, "b": model}, x, y), "pgd-50", spec, 25)
    return found.clean["a"], next(each.flags for each in found.transfers if (each.source, each.target) == ("a", "a"))


def test_models_are_left_as_they_were_and_progress_ends_at_its_total() -> None:
    x, y = (each[:20] for each in digits())
    model = copy.deepcopy(trained()).train().requires_grad_(True)
    model.zero_grad()
    events: list[Event] = []
    transfers_between(
        inputs({"a": model, "b": trained(robust=True)}, x, y), "fgsm", parse_attack("fgsm", EPS), 8, events.append
    )
    assert model.training and all(each.requires_grad and each.grad is None for each in model.parameters())
    assert all(isinstance(event, Progress) for event in events)
    last = events[-1]
    assert isinstance(last, Progress) and (last.done, last.total, last.eta) == (40, 40, 0.0)


@pytest.mark.parametrize("name", ["autoattack", "fmn", "square", "apgd-ce"])
def test_an_attack_that_returns_the_clean_image_if_it_fails_is_refused(name: str) -> None:
    x, y = (each[:4] for each in digits())
    with pytest.raises(UserError, match=f"attack {name}: .* use FGSM or PGD"):
        transfers_between(inputs({"a": trained(), "b": trained()}, x, y), name, parse_attack(name, EPS), 4)


def made_up(flags: dict[tuple[str, str], str], clean: dict[str, str]) -> tuple[Transfer, ...]:
    return tuple(transfer_of(source, target, clean[target], each) for (source, target), each in flags.items())


@pytest.mark.parametrize(
    ("beyond", "n", "raised"), [(1, 50, False), (2, 50, True), (2, 200, True), (2, 201, False), (3, 300, True)]
)
def test_the_flag_is_raised_from_two_images_and_one_percent_on(beyond: int, n: int, raised: bool) -> None:
    clean = {"a": "1" * n, "b": "1" * n}
    flags = dict.fromkeys([("a", "a"), ("a", "b"), ("b", "a"), ("b", "b")], "1" * n)
    flags["a", "b"] = "0" * beyond + "1" * (n - beyond)
    checks = transfer_checks(clean, made_up(flags, clean), "fgsm")
    assert (checks["a"].raised, checks["b"].raised, checks["b"].value) == (False, raised, beyond)


def test_images_that_are_wrong_when_clean_or_broken_by_the_own_attack_do_not_count() -> None:
    clean = {"a": "1111", "b": "0011"}
    flags = {("a", "a"): "1111", ("a", "b"): "0000", ("b", "a"): "1111", ("b", "b"): "0001"}
    found = made_up(flags, clean)
    assert (found[1].right, found[1].broken, found[1].share) == (2, 2, 1.0)
    assert transfer_checks({"a": "1111", "b": "0001"}, found, "fgsm")["b"].value == 1


def results(**changes: Any) -> TransferResults:
    clean = {"b": "1101", "a": "1111"}
    flags = {("b", "b"): "1101", ("b", "a"): "0011", ("a", "b"): "1100", ("a", "a"): "1111"}
    found = made_up(flags, clean)
    data = {"name": "mnist5k", "fingerprint": "f", "split": "test", "n": 4, "indices_hash": "i", "train": 1}
    value: dict[str, Any] = {
        "format": 1,
        "study": "smoke",
        "attack": "fgsm",
        "spec": parse_attack("fgsm", 0.1).model_copy(update={"images": 4}),
        "norm": "linf",
        "eps": radius(0.1),
        "batch_size": 2,
        "seed": 0,
        "data": Data.model_validate({**data, "validation": 1}),
        "code_version": "0",
        "checkpoints": {"b": "1" * 64, "a": "2" * 64},
        "clean": clean,
        "transfers": found,
        "withstood": clean,
        "checks": transfer_checks(clean, found, "fgsm"),
    }
    return TransferResults(**value | changes)


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "transfer.json"
    save_transfer(path, results())
    assert load_transfer(path) == results()
    assert load_transfer(path).runs == ("b", "a")  # in their order, which JSON's mappings lose
    assert results().checks["a"].raised


def test_a_file_that_was_edited_is_refused_with_the_command_that_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "transfer.json"
    save_transfer(path, results())
    path.write_text(path.read_text().replace('"0011"', '"0111"'))
    with pytest.raises(UserError, match=r"digest.*run `ssmlab transfer`"):
        load_transfer(path)


def without(transfers: Any) -> Any:
    return transfers[:-1]


def twice(transfers: Any) -> Any:
    return [*transfers[:-1], transfers[0]]


def miscounted(transfers: Any) -> Any:
    return [{**transfers[0], "broken": 3}, *transfers[1:]]


def shorter(transfers: Any) -> Any:
    return [{**transfers[0], "flags": "110"}, *transfers[1:]]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (without, "do not name the same runs"),
        (twice, "do not name the same runs"),
        (miscounted, "from b to b do not agree"),
        (shorter, "number of flags differs"),
    ],
)
def test_numbers_that_do_not_follow_from_the_flags_are_refused(tmp_path: Path, change: Any, problem: str) -> None:
    path, document = tmp_path / "transfer.json", results().plain()
    path.write_text(sealed_json({**document, "transfers": change(document["transfers"])}))
    with pytest.raises(UserError, match=problem) as caught:
        load_transfer(path)
    assert "\n" not in str(caught.value)


def test_a_flag_that_was_taken_back_is_refused(tmp_path: Path) -> None:
    path, document = tmp_path / "transfer.json", results().plain()
    document["checks"]["a"] |= {"raised": False, "sentence": ""}
    path.write_text(sealed_json(document))
    with pytest.raises(UserError, match="checks do not agree"):
        load_transfer(path)
