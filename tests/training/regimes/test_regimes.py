"""Every regime against a closed form or a second route to the same numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
import torchattacks
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ssmlab.nets.build import build
from ssmlab.nets.classifier import Classifier, ssm_parameters
from ssmlab.params import AwpParams, FgsmAtParams, Params, TrainParams
from ssmlab.params.train import RegimeName
from ssmlab.training.adversary import l2_norms, pgd, starting_point
from ssmlab.training.attack import Attack, attack_from
from ssmlab.training.awp import perturbed_parameters, perturbed_weights
from ssmlab.training.events import BatchResult
from ssmlab.training.optimizer import make_optimizer, make_schedule
from ssmlab.training.regimes import REGIMES
from ssmlab.training.regimes.base import smoothed_cross_entropy
from ssmlab.training.regimes.fgsm_at import single_step
from ssmlab.training.regimes.free import CarriedDelta, Free
from ssmlab.training.regimes.jacobian import squared_norm
from ssmlab.training.regimes.mart import mart_loss
from ssmlab.training.regimes.trades import divergence, trades_attack
from ssmlab.training.regimes.yopo import ascend_stem
from tests.training.steps import regime_of, run

SHAPE, CLASSES = (1, 14, 14), 3
SLACK = 1e-6  # x + eps is rounded

SECTIONS: dict[str, dict[str, Any]] = {
    "standard": {},
    "pgd_at": {},
    "trades": {"trades": {"beta": 6.0}},
    "mart": {"mart": {"beta": 5.0}},
    "free": {"free": {"replays": 2}, "adversary": {"alpha": 0.1, "steps": 1, "random_start": False}},
    "yopo": {"yopo": {"propagations": 2}},
    "fgsm": {"fgsm": {"noise": 1.0, "clip": True}, "adversary": {"alpha": 0.125, "steps": 1}},
    "jacobian": {"jacobian": {"weight": 0.1, "projections": 2}},
    "pgd_at with awp": {"awp": {"gamma": 0.01}},
    "trades with awp": {"trades": {"beta": 6.0}, "awp": {"gamma": 0.01}},
}


def attack_of(eps: float = 0.1, alpha: float = 0.025, steps: int = 3, start: bool = True, norm: Any = "linf") -> Attack:
    return Attack(eps, alpha, steps, norm, start)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(count: int = 3, size: int = 8) -> list[tuple[Tensor, Tensor]]:
    draw = seeded(7)
    result = []
    for i in range(count):
        batch = size if i < count - 1 else size - 3  # the last one is smaller
        x = torch.rand(batch, *SHAPE, generator=draw)
        x[0], x[1] = 0.0, 1.0
        result.append((x, torch.randint(CLASSES, (batch,), generator=draw)))
    return result


@pytest.fixture
def shared(tiny_params: Params) -> TrainParams:
    return tiny_params.run("ads").train


def settings_of(base: TrainParams, name: str, **changes: Any) -> TrainParams:
    """The params of one of SECTIONS; `changes` are put over its own settings."""
    raw = base.plain() | {"regime": name.split()[0]} | {k: v for k, v in SECTIONS[name].items() if k != "adversary"}
    raw["adversary"] = raw["adversary"] | SECTIONS[name].get("adversary", {})
    return TrainParams.model_validate(raw | changes)


@pytest.fixture
def new_model(tiny_params: Params) -> Any:
    return lambda: build(tiny_params.run("ads").model, SHAPE, CLASSES, 0)


def optimizer_of(model: nn.Module, base: TrainParams) -> tuple[Any, Any]:
    optimizer = make_optimizer(model, base.optimizer)
    return optimizer, make_schedule(optimizer, base.optimizer, 20)


def same_weights(one: nn.Module, two: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def close_weights(one: nn.Module, two: nn.Module, atol: float = 1e-6) -> None:
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=atol)


def losses(seen: list[BatchResult]) -> list[float]:
    return [batch.loss for batch in seen]


class TinyNet(nn.Module):
    """Stem and trunk, both small; the trunk is linear if `linear`, the stem is not."""

    def __init__(self, linear: bool, classes: int = 2):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.first = nn.Linear(math.prod(SHAPE), 6)
            self.last = nn.Linear(6, classes)
        self.linear = linear

    def stem(self, x: Tensor) -> Tensor:
        return torch.sin(3 * self.first(x.flatten(1)))  # (B, 6)

    def trunk(self, h: Tensor) -> Tensor:
        return self.last(h if self.linear else torch.tanh(3 * h))  # (B, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.trunk(self.stem(x))


# --- attacks in bfloat16 ----------------------------------------------------------------------------------------------


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
    with pytest.raises(ValueError, match="`precision` goes with `regime` pgd_at, mart and fgsm only"):
        settings_of(shared, name, precision="bf16")


def test_without_a_precision_settings_keep_their_fingerprint(shared: TrainParams) -> None:
    assert "precision" not in shared.plain()


# --- all regimes ------------------------------------------------------------------------------------------------------


def test_every_regime_of_the_params_has_its_class() -> None:
    assert sorted(REGIMES) == sorted(get_args(RegimeName))
    assert len(set(REGIMES.values())) == len(REGIMES)


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


# --- TRADES -----------------------------------------------------------------------------------------------------------


def test_trades_without_its_robust_part_is_standard_training(new_model: Any, shared: TrainParams) -> None:
    ours, theirs = new_model(), new_model()
    trades = regime_of(settings_of(shared, "trades", trades={"beta": 0.0}), ours)
    standard = regime_of(settings_of(shared, "standard"), theirs)
    for batch in data():
        (result,), (reference,) = run(trades, [batch], attack_of()), run(standard, [batch], attack_of())
        assert result.loss == pytest.approx(reference.loss, rel=1e-6)
        assert (result.right_clean, result.images) == (reference.right_clean, reference.images)
        close_weights(ours, theirs)


def test_the_trades_attack_is_that_of_torchattacks(new_model: Any) -> None:
    """torchattacks.TPGD is TRADES' attack, computed anew in every step."""
    model = new_model().eval()
    (x, _), *_ = data()
    ours = trades_attack(model.freeze(), x, attack_of(eps=0.2, alpha=0.05, steps=5), seeded(5))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        theirs = torchattacks.TPGD(model, eps=0.2, alpha=0.05, steps=5)(x, None)
    inside = (x > 0) & (x < 1)  # at the border our start is projected, and torchattacks' is not
    agree = ((ours - theirs).abs() < 1e-5)[inside]
    assert agree.float().mean() > 0.99  # a start that differs at the border may turn a sign near zero
    assert (ours - x).abs().max() > 0.15
    with torch.no_grad():
        p = model(x).softmax(1)
        near = divergence(model(pgd(model, x, p, attack_of(), seeded(), divergence)), p)
        assert divergence(model(ours), p) > near > 0


def test_trades_has_the_loss_and_the_gradient_of_its_formula(new_model: Any, shared: TrainParams) -> None:
    """The gradient goes through the clean distribution too."""
    model, reference, (batch, *_) = new_model(), new_model(), data()
    x, y = batch
    x_adv = trades_attack(model.freeze(), x, attack_of(), seeded())
    p, q = reference(x).softmax(1), reference(x_adv).softmax(1)
    by_hand = -p[range(len(y)), y].log().mean() + 6 * (p * (p / q).log()).sum(1).mean()
    by_hand.backward()
    (seen,) = run(regime_of(settings_of(shared, "trades"), model), [batch], attack_of())
    assert seen.loss == pytest.approx(by_hand.item(), rel=1e-4)
    assert (seen.right_clean, seen.right_robust) == ((p.argmax(1) == y).sum(), (q.argmax(1) == y).sum())
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-6)


# --- MART -------------------------------------------------------------------------------------------------------------


def test_the_mart_loss_is_its_formula() -> None:
    clean, attacked = torch.randn(2, 6, CLASSES, generator=seeded(), dtype=torch.float64)
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    total = 0.0
    for p, q, label in zip(clean.softmax(1), attacked.softmax(1), y.tolist(), strict=True):
        wrong = max(float(q[k]) for k in range(CLASSES) if k != label)
        moved = sum(float(p[k]) * math.log(p[k] / q[k]) for k in range(CLASSES))
        total += -math.log(q[label]) - math.log(1 - wrong) + 5 * moved * (1 - float(p[label]))
    assert mart_loss(clean, attacked, y, 5.0).item() == pytest.approx(total / 6, rel=1e-10)
    inputs = (clean.requires_grad_(), attacked.requires_grad_())
    assert torch.autograd.gradcheck(lambda p, q: mart_loss(p, q, y, 5.0), inputs)


def test_mart_has_a_gradient_where_probabilities_are_0_and_1() -> None:
    attacked = torch.tensor([[200.0, -200.0, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    total = mart_loss(torch.tensor([[200.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), attacked, torch.tensor([1, 0]), 5.0)
    total.backward()
    assert total.isfinite() and attacked.grad is not None
    assert attacked.grad.isfinite().all() and attacked.grad[0].abs().sum() > 0.5


# --- FreeAT -----------------------------------------------------------------------------------------------------------


def free_by_hand(
    model: Classifier, batches: list[tuple[Tensor, Tensor]], base: TrainParams, replays: int, eps: float
) -> tuple[list[float], Tensor]:
    """Algorithm 1 as written: two separate gradients, delta as a plain tensor, alpha = eps."""
    optimizer, schedule = optimizer_of(model, base)
    delta = torch.zeros(8, *SHAPE)
    result = []
    model.train()
    for x, y in batches:
        for _ in range(replays):
            x_adv = (x + delta[: len(x)]).clamp(0, 1)
            point = x_adv.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(model(point), y), point)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x_adv), y)
            loss.backward()
            optimizer.step()
            schedule.step()
            delta[: len(x)] = (delta[: len(x)] + eps * gradient.sign()).clamp(-eps, eps)
            result.append(loss.item())
    return result, delta


def free_on(model: Classifier, shared: TrainParams) -> Free:
    regime = regime_of(settings_of(shared, "free"), model)
    assert isinstance(regime, Free)
    return regime


ALGORITHM_1 = Attack(eps=0.1, alpha=0.1, steps=1, random_start=False)


@pytest.mark.parametrize("replays", [1, 3])
def test_a_step_of_free_is_algorithm_1(replays: int, new_model: Any, shared: TrainParams) -> None:
    """With one replay that is FGSM whose start is where the last batch's FGSM ended."""
    ours, theirs = new_model(), new_model()
    free = free_on(ours, shared)
    seen = run(free, data(), ALGORITHM_1, replays)
    by_hand, delta_by_hand = free_by_hand(theirs, data(), shared, replays, 0.1)
    assert losses(seen) == pytest.approx(by_hand, rel=1e-4)
    assert len(seen) == 3 * replays
    close_weights(ours, theirs, atol=1e-5)
    # a gradient near zero may have either sign
    assert ((free.delta.value - delta_by_hand).abs() < SLACK).float().mean() > 0.99


def test_the_first_free_step_is_standard_training(new_model: Any, shared: TrainParams) -> None:
    ours, theirs = new_model(), new_model()
    free = free_on(ours, shared)
    (seen,) = run(free, data()[:1], ALGORITHM_1)
    (reference,) = run(regime_of(settings_of(shared, "standard"), theirs), data()[:1], ALGORITHM_1)
    assert seen.loss == reference.loss
    assert same_weights(ours, theirs)
    assert (free.delta.value.abs() == 0.1).float().mean() > 0.9


def test_delta_is_carried_to_the_next_batch_and_through_a_saved_state(new_model: Any, shared: TrainParams) -> None:
    first = free_on(new_model(), shared)
    run(first, data()[:1], ALGORITHM_1)
    saved = {name: tensor.clone() for name, tensor in first.carried["delta"].state_dict().items()}

    def second_batches(delta: dict[str, Tensor] | None) -> Classifier:
        model = new_model()
        free = free_on(model, shared)
        if delta is not None:
            free.carried["delta"].load_state_dict(delta)
        run(free, data()[1:], ALGORITHM_1)
        return model

    assert same_weights(second_batches(saved), second_batches(saved))
    assert not same_weights(second_batches(saved), second_batches(None))


def test_a_smaller_batch_moves_the_first_rows_of_delta_only() -> None:
    delta = CarriedDelta(8, SHAPE)
    delta.of(torch.zeros(3, *SHAPE)).fill_(1.0)
    assert delta.value[:3].eq(1).all() and delta.value[3:].eq(0).all()


# --- YOPO -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_yopo_through_a_linear_trunk_is_pgd_through_the_whole(norm: str) -> None:
    """With two classes the gradient to h is a fixed vector times a positive number, which no step length depends on."""
    model = TinyNet(linear=True)
    (x, _), *_ = data()
    y = torch.arange(len(x)) % 2
    strength = attack_of(eps=0.1 if norm == "linf" else 1.0, alpha=0.03, steps=5, norm=norm)
    x_0 = starting_point(x, strength, seeded(4))
    h = model.stem(x_0).detach().requires_grad_()
    (p,) = torch.autograd.grad(F.cross_entropy(model.trunk(h), y), h)
    torch.testing.assert_close(
        ascend_stem(model.stem, p, x, x_0, strength), pgd(model, x, y, strength, seeded(4)), rtol=0, atol=1e-5
    )
    bent = TinyNet(linear=False)  # and through another trunk it is not
    h = bent.stem(x_0).detach().requires_grad_()
    (p,) = torch.autograd.grad(F.cross_entropy(bent.trunk(h), y), h)
    whole = pgd(bent, x, y, strength, seeded(4))
    assert (ascend_stem(bent.stem, p, x, x_0, strength) - whole).abs().max() > 1e-3


def test_yopo_takes_the_mean_gradient_of_its_propagations(new_model: Any, shared: TrainParams) -> None:
    """Two propagations: the weights' gradient is the mean of those at the start and after n steps from there."""
    ours, theirs = new_model(), new_model()
    batch, strength = data()[0], attack_of(steps=2)
    x, y = batch
    (seen,) = run(regime_of(settings_of(shared, "yopo"), ours, seeded(4)), [batch], strength)

    optimizer, schedule = optimizer_of(theirs, shared)
    x_0 = starting_point(x, strength, seeded(4))
    x_1 = pgd(theirs, x, y, replace(strength, steps=1, alpha=0.05), seeded(4))  # a linear stem
    total = (F.cross_entropy(theirs(x_0), y) + F.cross_entropy(theirs(x_1), y)) / 2
    optimizer.zero_grad()
    total.backward()
    optimizer.step()
    schedule.step()
    assert seen.loss == pytest.approx(F.cross_entropy(new_model()(x_1), y).item(), rel=1e-4)
    close_weights(ours, theirs, atol=1e-4)


def test_yopo_1_n_trains_on_the_random_start_whatever_n_is(new_model: Any, shared: TrainParams) -> None:
    """As published: gradients are taken at full propagations, and with m = 1 the only one is at the random start."""
    models = [new_model(), new_model()]
    for model, steps in zip(models, (1, 5), strict=True):
        yopo = regime_of(settings_of(shared, "yopo", yopo={"propagations": 1}), model)
        run(yopo, data(), attack_of(steps=steps))
    assert same_weights(*models)


# --- single step ------------------------------------------------------------------------------------------------------

WONG, N_FGSM = FgsmAtParams(noise=1.0, clip=True), FgsmAtParams(noise=2.0, clip=False)


def test_fgsm_with_random_start_is_that_of_torchattacks(new_model: Any) -> None:
    model = new_model().eval()
    (x, y), *_ = data()
    generator = seeded(5)
    torch.randn(x.shape, generator=generator)  # torchattacks draws these numbers too, and throws them away
    ours = single_step(model, x, y, attack_of(eps=0.1, alpha=0.125, steps=1), WONG, generator)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        theirs = torchattacks.FFGSM(model, eps=0.1, alpha=0.125)(x, y)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=SLACK)


def test_fgsm_with_noise_of_the_ball_is_pgd_at_with_one_step(new_model: Any, shared: TrainParams) -> None:
    ours, theirs = new_model(), new_model()
    strength = attack_of(alpha=0.125, steps=1)
    seen = run(regime_of(settings_of(shared, "fgsm"), ours), data(), strength)
    assert seen == run(regime_of(settings_of(shared, "pgd_at"), theirs), data(), strength)
    assert same_weights(ours, theirs)


def test_n_fgsm_goes_beyond_the_ball_by_its_noise_and_no_further(new_model: Any) -> None:
    (x, y), *_ = data()
    x_adv = single_step(new_model().freeze(), x, y, attack_of(alpha=0.1, steps=1), N_FGSM, seeded())
    away = (x_adv - x).abs()
    assert away.max() <= 0.3 + SLACK
    assert away.max() > 0.25 and away.mean() > 0.08
    assert x_adv.min() >= 0 and x_adv.max() <= 1


# --- AWP --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pgd_at", "trades"])
def test_awp_of_no_size_changes_nothing(name: str, new_model: Any, shared: TrainParams) -> None:
    def go(gamma: float | None) -> tuple[Classifier, list[BatchResult]]:
        model, awp = new_model(), None if gamma is None else {"gamma": gamma}
        return model, run(regime_of(settings_of(shared, name, awp=awp), model), data(), attack_of())

    (plain, seen), (zero, seen_zero), (some, seen_some) = go(None), go(0.0), go(0.01)
    assert same_weights(plain, zero)
    assert seen == seen_zero
    assert seen_some[0].loss > seen[0].loss  # the loss is that at the perturbed weights
    assert not same_weights(plain, some)


def test_awp_moves_by_gamma_up_the_gradient_and_back_to_the_bit(new_model: Any) -> None:
    model, ((x, y), *_) = new_model(), data()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    F.cross_entropy(model(x), y).backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    moved = {id(parameter) for parameter in perturbed_parameters(model)}
    spared = {id(parameter) for parameter in ssm_parameters(model)}
    assert moved and not moved & spared
    with perturbed_weights(model, AwpParams(gamma=0.02), lambda: (F.cross_entropy(model(x), y),)):
        for name, parameter in model.named_parameters():
            old = before[name]
            step = parameter.detach() - old
            if id(parameter) not in moved:
                assert parameter.dim() < 2 or id(parameter) in spared
                assert torch.equal(parameter, old)
            elif gradients[name].any():
                assert step.norm().item() == pytest.approx(0.02 * old.norm().item(), rel=1e-3)
                assert F.cosine_similarity(step.flatten(), gradients[name].flatten(), dim=0) > 0.999
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert all(torch.equal(parameter.grad, gradients[name]) for name, parameter in model.named_parameters())


def test_awp_puts_the_weights_back_when_something_fails(new_model: Any) -> None:
    model, reference, ((x, y), *_) = new_model(), new_model(), data()
    with (
        pytest.raises(RuntimeError, match="out of memory"),
        perturbed_weights(model, AwpParams(gamma=0.1), lambda: (F.cross_entropy(model(x), y),)),
    ):
        assert not same_weights(model, reference)
        raise RuntimeError("out of memory")
    assert same_weights(model, reference)


# --- Jacobian regularisation ------------------------------------------------------------------------------------------


def test_the_penalty_on_a_linear_model_is_the_norm_of_its_matrix() -> None:
    W = torch.randn(CLASSES, 10, generator=seeded())
    x = torch.rand(4000, 10, generator=seeded(1), requires_grad=True)
    exact = W.square().sum().item()
    estimates = [squared_norm(x @ W.T, x, seeded(n), projections=n).item() for n in (1, 4)]
    assert estimates == pytest.approx([exact] * 2, rel=0.05)


def test_the_penalty_agrees_with_torchs_jacobian(new_model: Any) -> None:
    """In expectation; many projections of few images come close."""
    model, ((x, _), *_) = new_model(), data()
    x = x[2:4].requires_grad_()
    exact = sum(
        torch.autograd.functional.jacobian(lambda image: model(image[None])[0], each).square().sum().item()
        for each in x.detach()
    )
    estimate = squared_norm(model(x), x, seeded(), projections=600)
    assert estimate.item() == pytest.approx(exact / 2, rel=0.1)
    estimate.backward()
    assert model.embed.weight.grad is not None and model.embed.weight.grad.abs().sum() > 0


def test_jacobian_regularisation_of_no_weight_is_standard_training(new_model: Any, shared: TrainParams) -> None:
    def go(weight: float) -> tuple[Classifier, list[BatchResult]]:
        model = new_model()
        settings = settings_of(shared, "jacobian", jacobian={"weight": weight, "projections": 1})
        return model, run(regime_of(settings, model), data(), attack_of())

    (none, seen), (some, seen_some) = go(0.0), go(1.0)
    theirs = new_model()
    reference = run(regime_of(settings_of(shared, "standard"), theirs), data(), attack_of())
    assert losses(seen) == pytest.approx(losses(reference), rel=1e-5)
    close_weights(none, theirs, atol=1e-5)
    assert seen_some[0].loss > seen[0].loss
    assert not same_weights(none, some)
