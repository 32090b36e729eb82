"""Settings that are refused before a model is trained."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ssmlab.core.errors import UserError
from ssmlab.data.header import DataSummary, Description
from ssmlab.evaluation.plan import check_ball, check_plan
from ssmlab.params import Params


def summary(classes: int = 10, test: int = 100) -> DataSummary:
    description = Description(
        name="mine",
        source="files",
        provenance="own",
        class_names=tuple(map(str, range(classes))),
        seed=0,
        fingerprint="ab" * 32,
    )
    return DataSummary(description, (1, 28, 28), train=40, validation=10, test=test)


def test_a_study_whose_attacks_fit_its_data_is_accepted(tiny_params: Params) -> None:
    check_plan(tiny_params, summary())


def with_attack(params: Params, **changes: object) -> Params:
    """The study with one AutoAttack."""
    raw = params.plain()
    raw["attack"]["attacks"] = {
        "aa": {"kind": "autoattack", "steps": 5, "queries": 5, "images": 10, "checkpoints": ["best"]} | changes
    }
    raw["analyze"]["claims"] = []
    return Params.model_validate(raw)


def test_autoattack_needs_four_classes(tiny_params: Params) -> None:
    check_plan(with_attack(tiny_params), summary(classes=4))
    with pytest.raises(UserError, match=r"attack.attacks.aa: AutoAttack needs at least 4 classes.* there are 3"):
        check_plan(with_attack(tiny_params), summary(classes=3))


def test_params_have_priority_over_older_prepared_data(tiny_params: Params) -> None:
    raw = with_attack(tiny_params, images=101).plain()
    raw["data"] |= {"test": 200, "classes": 4}
    check_plan(Params.model_validate(raw), summary(classes=3))


def test_more_images_than_there_are_cannot_be_attacked(tiny_params: Params) -> None:
    check_plan(with_attack(tiny_params, images=100), summary())
    with pytest.raises(UserError, match=r"attack.attacks.aa: 101 images are requested, but there are 100"):
        check_plan(with_attack(tiny_params, images=101), summary())


@pytest.mark.parametrize("eps", [8.0, 1.0001, -0.1, float("nan"), float("inf")])
def test_an_eps_outside_the_unit_interval_is_refused(eps: float) -> None:
    with pytest.raises(UserError, match=r"attack.eps must be in \[0, 1\]"):
        check_ball(eps, "linf", (1, 28, 28), "attack.eps")


def test_checking_a_plan_imports_no_torch() -> None:
    code = "import sys, ssmlab.evaluation.plan; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
