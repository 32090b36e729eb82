"""Arguments of evaluate: other forms of images, labels and models give the same numbers; invalid ones are refused."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssmlab.core.errors import UserError
from ssmlab.evaluation.attack_names import parse_attack
from ssmlab.evaluation.evaluate import evaluate
from ssmlab.evaluation.inputs import prepared_images
from ssmlab.params import AutoAttackParams, FgsmParams, PgdParams
from tests.evaluation.material import QUICK, material


def test_names_stand_for_attacks_with_sensible_settings() -> None:
    assert parse_attack("fgsm", 0.1) == FgsmParams(kind="fgsm", images="all", checkpoints=("best", "last"))
    pgd = parse_attack("pgd-25", 0.1)
    assert isinstance(pgd, PgdParams)
    assert (pgd.steps, pgd.random_start) == (25, True)
    assert pgd.alpha == pytest.approx(0.01)
    aa = parse_attack("autoattack", 0.1)
    assert isinstance(aa, AutoAttackParams)
    assert (aa.steps, aa.queries) == (100, 5000)
    for name in ("pgd-0", "cw"):
        with pytest.raises(UserError, match=f"no attack is called '{name}'; use fgsm, .*autoattack, .*pgd-N"):
            parse_attack(name, 0.1)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("pgd", "pgd-10"),
        ("pdg-25", "pgd-25"),
        ("tokn-4", "token-4"),
        ("FGSM", "fgsm"),
        ("autoatack", "autoattack"),
        ("apgd-c", "apgd-ce"),
    ],
)
def test_a_misspelt_attack_is_refused_with_the_one_that_was_meant(name: str, meant: str) -> None:
    with pytest.raises(UserError, match=rf"no attack is called '{name}'; did you mean '{meant}'\?$"):
        parse_attack(name, 0.1)


def test_bad_arguments_are_refused_in_one_line() -> None:
    model, x, y = material()
    good: dict[str, Any] = {"model": model, "x": x, "y": y, "attacks": QUICK, "eps": 0.02}
    too_many = QUICK["aa"].model_copy(update={"images": 21})
    bad: list[tuple[dict[str, Any], str]] = [
        ({"x": "digits"}, "x must be images .* it is str"),
        ({"x": [[1.0], [1.0, 2.0]]}, "x must be images .* it is list"),
        ({"x": None}, "x must be images .* it is NoneType"),
        ({"x": (255 * x).byte()}, r"x must be floats in \[0, 1\]; it is torch.uint8"),
        ({"x": x[0]}, r"x must be .* it is torch.float32 \(1, 8, 8\)"),
        ({"x": x[:0], "y": y[:0]}, "N at least 1"),
        ({"y": y.float()}, r"y must be class numbers \(N,\), integers; it is torch.float32"),
        ({"y": y > 1}, r"y must be class numbers \(N,\), integers; it is torch.bool"),
        ({"y": y[:, None]}, r"y must be class numbers \(N,\), integers; it is torch.int64 \(20, 1\)"),
        ({"model": None}, "model must be a module or a function .* it is NoneType"),
        ({"model": nn.Flatten}, "it is the class Flatten; make an object of it"),
        ({"model": lambda x: model(x).argmax(1)}, r"must return logits .* it gave torch.int64 \(1,\)"),
        ({"model": lambda x: (model(x), x)}, "it gave a tuple of length 2; wrap the model in a function"),
        (
            {"model": nn.Sequential(nn.Flatten(), nn.Linear(9, 5))},
            r"cannot be run on images \(1, 8, 8\): mat1",
        ),
        ({"eps": 8}, "eps must be in .* it is 8: for 8 of 255 write 8/255"),
        ({"eps": 1.01}, "eps must be in"),
        ({"attacks": None}, "attacks must be names"),
        ({"attacks": [None]}, "no attack is called 'None'"),
        ({"attacks": {"mine": "pgd"}}, "mine must be a specification"),
        ({"device": "tpu"}, "device must be auto, cpu or cuda"),
        ({"y": y[:3]}, "there are 20 images and 3 labels"),
        ({"y": y - 5}, "y must be class numbers, 0 or larger"),
        ({"x": x * 255}, r"x must be in \[0, 1\]; it ranges from .* divide 8-bit images by 255"),
        ({"x": x - 0.5}, r"x must be in \[0, 1\]"),
        ({"x": x.clone().index_fill_(0, torch.tensor([3]), float("nan"))}, r"x must be in \[0, 1\]"),
        ({"eps": -0.1}, "eps must be in"),
        ({"eps": float("nan")}, "eps: .*finite number"),
        ({"attacks": "cw"}, "no attack is called 'cw'"),
        ({"batch_size": 0}, "batch_size and workers must be at least 1"),
        ({"workers": 0}, "batch_size and workers must be at least 1"),
        ({"attacks": {"clean": QUICK["fgsm"]}}, "an attack cannot be named 'clean'"),
        (
            {"attacks": {"aa": too_many}},
            "aa: 21 images are requested, but there are 20",
        ),
        ({"x": x.to_sparse()}, "x must be images .* not plain .layout torch.sparse_coo"),
        ({"x": x.to("meta")}, "x must be images .* not plain .layout torch.strided, device meta"),
        ({"x": np.ma.masked_array(x.numpy(), x.numpy() > 0.5)}, "x must be images .* a masked array"),
        ({"y": y.to_sparse()}, "y must be class numbers .* not plain"),
        ({"attacks": "pgd-99999999999"}, "no attack is called 'pgd-99999999999'"),
        ({"attacks": ["fgsm\x1b[2J\n"]}, r"no attack is called 'fgsm.x1b\[2J'"),
        ({"attacks": {"a\x1b": 5}}, r"a.x1b must be a specification"),
        ({"batch_size": 1.5}, "batch_size must be an integer; it is float"),
        ({"batch_size": None}, "batch_size must be an integer; it is NoneType"),
        ({"workers": "2"}, "workers must be an integer; it is str"),
        ({"seed": "0"}, "seed must be an integer; it is str"),
        ({"seed": None}, "seed must be an integer"),
        ({"binarisation": True}, "binarisation must be an integer; it is bool"),
        ({"binarisation": -1}, "binarisation must be 0 or larger; it is -1"),
        ({"on_event": None}, "on_event must be a function of one event"),
        ({"save_adversarials": "folder"}, "save_adversarials must be an AdversarialFolder; it is str"),
        (
            {"model": nn.Identity()},
            r"must return logits \(1, classes\) .* torch.float32 \(1, 1, 8, 8\)",
        ),
    ]
    for change, message in bad:
        with pytest.raises(UserError, match=message) as raised:
            evaluate(**(good | change))
        assert "\n" not in str(raised.value)


class Cast(nn.Module):
    """A model that computes in another dtype inside."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = copy.deepcopy(model).to(dtype), dtype

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x.to(self.dtype))
        return logits


def test_images_labels_and_models_in_other_forms_give_the_same_numbers() -> None:
    model, x, y = material()
    expected = evaluate(model, x, y, QUICK, 0.02)
    in_eval = nn.Sequential(nn.BatchNorm2d(1), model).eval()
    in_eval[0].eps = 0.0  # the running mean 0 and variance 1: it changes nothing
    others: list[dict[str, Any]] = [
        {"x": x.double()},
        {"seed": np.int64(0), "batch_size": np.int32(50)},
        {"x": x.numpy()},
        {"x": tuple(x)},
        {"x": x.clone().requires_grad_()},
        {"x": x.numpy().astype(">f4")},
        {"x": torch.where(x == x.max(), 1.0 + 1e-7, x) if x.max() == 1.0 else x},
        {"y": y.int()},
        {"y": y.to(torch.uint8)},
        {"y": y.numpy()},
        {"y": tuple(y.tolist())},
        {"model": lambda x: model(x)},
        {"model": in_eval},
        {"model": copy.deepcopy(model).double()},
    ]
    for change in others:
        found = evaluate(**({"model": model, "x": x, "y": y, "attacks": QUICK, "eps": 0.02} | change))
        assert {name: each.flags for name, each in found.measures.items()} == {
            name: each.flags for name, each in expected.measures.items()
        }, change.keys()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_models_of_other_precision_are_attacked_without_an_error(dtype: torch.dtype) -> None:
    model, x, y = material()
    for each in (Cast(model, dtype), copy.deepcopy(model).to(dtype)):
        assert evaluate(each, x, y, QUICK, 0.02).measures["aa"].n == 10


def test_the_callers_default_dtype_and_grad_mode_change_nothing() -> None:
    model, x, y = material()
    expected = evaluate(model, x, y, QUICK, 0.02)
    torch.set_default_dtype(torch.float64)
    try:
        assert evaluate(model, x, y, QUICK, 0.02).measures == expected.measures
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        assert evaluate(model, x, y, QUICK, 0.02) == expected
    with torch.inference_mode():
        assert evaluate(model, x.clone(), y.clone(), QUICK, 0.02).measures == expected.measures


def test_a_model_that_normalises_in_place_changes_neither_the_images_nor_the_result() -> None:
    model, x, y = material()
    kept = x.clone()

    class InPlace(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return model(x.sub_(0.13).div_(0.31))

    def pure(x: Tensor) -> Tensor:
        return model((x - 0.13) / 0.31)

    y = pure(x).argmax(dim=1)
    found = evaluate(InPlace(), x, y, QUICK, 0.02)
    assert x.equal(kept)
    assert found.measures == evaluate(pure, x, y, QUICK, 0.02).measures
    assert found.measures["clean"].correct == 20


def test_images_are_copied_and_rounding_beyond_0_and_1_is_cut_off() -> None:
    x = torch.tensor([-5e-7, 0.25, 1.0 + 5e-7]).view(3, 1, 1, 1)
    prepared = prepared_images(x)
    assert prepared.flatten().tolist() == [0.0, 0.25, 1.0]
    inside = torch.full((1, 1, 2, 2), 0.5)
    prepared_images(inside).zero_()
    assert inside.eq(0.5).all()
