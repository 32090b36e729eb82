"""What every regime keeps: the ball and the box, modes and randomness, label smoothing, and bfloat16 up to rounding."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ssmlab.nets.classifier import Classifier
from ssmlab.params import REGIMES, TrainParams
from ssmlab.training.adversary import l2_norms
from ssmlab.training.attack import attack_from
from ssmlab.training.events import BatchResult
from ssmlab.training.regimes.base import smoothed_cross_entropy
from tests.training.regimes.material import (
    CLASSES,
    SECTIONS,
    TinyNet,
    attack_of,
    data,
    losses,
    same_weights,
    seeded,
    settings_of,
)
from tests.training.steps import regime_of, run


@pytest.mark.parametrize("name", ["pgd_at", "mart", "fgsm"])
def test_a_step_with_an_attack_in_bfloat16_is_that_of_float32_up_to_rounding(
    name: str, shared: TrainParams, new_model: Any
) -> None:
    results, moves = [], []
    for precision in (None, "bf16"):
        model = new_model()
        before = [parameter.detach().clone() for parameter in model.parameters()]
        regime = regime_of(settings_of(shared, name, precision=precision), model)
        results.append(run(regime, data(1), attack_of()))
        assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
        moves.append(torch.cat([(p - b).flatten() for p, b in zip(model.parameters(), before, strict=True)]))
    assert losses(results[1]) == pytest.approx(losses(results[0]), rel=2e-3)
    assert F.cosine_similarity(*moves, dim=0) > 0.98  # Adam's first step is the gradient's sign


@pytest.mark.parametrize("name", ["standard", "free", "yopo", "jacobian", "trades"])
def test_a_regime_whose_attack_cannot_be_in_bfloat16_refuses_it(name: str, shared: TrainParams) -> None:
    with pytest.raises(ValueError, match="`precision` works only with `regime` pgd_at, mart and fgsm"):
        settings_of(shared, name, precision="bf16")


def test_without_a_precision_settings_keep_their_fingerprint(shared: TrainParams) -> None:
    assert "precision" not in shared.plain()


def test_every_regime_of_the_params_is_tested_here_and_has_its_own_class() -> None:
    assert {name for name in SECTIONS if " with " not in name} == set(REGIMES)
    assert len({entry.where for entry in REGIMES.values()}) == len(REGIMES)


@pytest.mark.parametrize("name", SECTIONS)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_regime_changes_neither_modes_nor_global_randomness_and_repeats_to_the_bit(
    name: str, norm: Any, new_model: Any, shared: TrainParams
) -> None:
    settings = settings_of(shared, name)
    attack = replace(attack_from(settings.adversary), norm=norm)

    def go() -> tuple[Classifier, list[BatchResult]]:
        model, seen = new_model(), []
        regime = regime_of(settings, model)
        for batch in data():
            seen += run(regime, [batch], attack, settings.replays)
            assert all(module.training for module in model.modules())
        return model, seen

    state = torch.get_rng_state()
    (first, seen), (again, seen_again) = go(), go()
    assert torch.equal(torch.get_rng_state(), state)
    assert same_weights(first, again)
    assert not same_weights(first, new_model())
    assert seen == seen_again
    assert [result.images for result in seen] == [size for size in (8, 8, 5) for _ in range(settings.replays)]
    assert all(math.isfinite(loss) for loss in losses(seen))
    assert all(parameter.requires_grad for parameter in first.parameters())
    measured = {(result.right_clean is not None, result.right_robust is not None) for result in seen}
    assert measured == {(not settings.adversarial or name.split()[0] in ("trades", "mart"), settings.adversarial)}


@pytest.mark.parametrize("name", [name for name in SECTIONS if name.split()[0] not in ("standard", "jacobian")])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@hypothesis_settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(eps=st.floats(0.0, 0.6), ratio=st.floats(0.1, 3.0))
def test_no_query_leaves_the_ball_or_the_box(
    name: str, norm: Any, eps: float, ratio: float, shared: TrainParams
) -> None:
    """Every image that a regime gives its model, frozen or not, is in [0, 1] and in the ball around its own image."""
    queries: list[Tensor] = []

    class Watched(TinyNet):
        def stem(self, x: Tensor) -> Tensor:
            queries.append(x.detach())
            return super().stem(x)

        def freeze(self) -> nn.Module:
            return self

    settings = settings_of(shared, name)
    attack = replace(attack_from(settings.adversary), norm=norm, eps=eps, alpha=ratio * eps)
    regime = regime_of(settings, Watched(linear=False, classes=CLASSES))
    for x, y in data(2):
        queries.clear()
        run(regime, [(x, y)], attack, replays=2)
        assert len(queries) >= 2
        for query in queries:
            assert query.min() >= 0 and query.max() <= 1
            away = (query - x).abs().amax() if norm == "linf" else l2_norms(query - x).amax()
            assert away <= eps + 1e-5


@pytest.mark.parametrize("name", ["standard", "pgd_at", "trades", "free", "yopo", "fgsm", "jacobian"])
def test_label_smoothing_reaches_every_regime_that_can_have_it(name: str, new_model: Any, shared: TrainParams) -> None:
    """The loss before the first step is the same except for the cross entropy."""
    plain = settings_of(shared, name)
    first = []
    for smoothing in (None, 0.0, 0.3):
        settings = plain.model_copy(update={"label_smoothing": smoothing})
        (result,) = run(regime_of(settings, new_model()), data()[:1], attack_from(plain.adversary))
        first.append(result.loss)
    assert first[0] == first[1] != first[2]


def test_the_smoothed_cross_entropy_is_the_formula() -> None:
    logits, y = torch.randn(5, 4, generator=seeded()), torch.tensor([0, 1, 2, 3, 0])
    target = 0.7 * F.one_hot(y, 4) + 0.3 / 4
    by_hand = -(target * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(smoothed_cross_entropy(0.3)(logits, y), by_hand)
