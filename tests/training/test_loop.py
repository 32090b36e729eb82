from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchattacks
from torch import Tensor

from ssmlab.artifacts.history import Row
from ssmlab.data.dataset import Dataset, Split, make_dataset
from ssmlab.data.pixels import to_unit
from ssmlab.nets.build import build
from ssmlab.nets.classifier import Classifier
from ssmlab.params import AveragingParams, FreeParams, Params, TrainParams
from ssmlab.project.params_file import merged
from ssmlab.training.attack import attack_from
from ssmlab.training.averaging import AveragedModel
from ssmlab.training.events import BatchResult, Diverged, EpochDone, StepDone, ValidationStep
from ssmlab.training.generators import named_generator
from ssmlab.training.loop import fit
from ssmlab.training.optimizer import make_optimizer, make_schedule
from ssmlab.training.selection import out_of_patience
from ssmlab.training.validation import training_sample
from tests.training.steps import regime_of, run

CPU = torch.device("cpu")
SHAPE, CLASSES = (1, 14, 14), 3


def split(images: int, seed: int) -> Split:
    """Noise in which one third of the rows is bright; the bright third is the class."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (images,), generator=draw)
    pixels = torch.randint(80, (images, *SHAPE), generator=draw, dtype=torch.uint8)
    for image, label in zip(pixels, labels.tolist(), strict=True):
        image[:, 4 * label : 4 * label + 4] += 150
    return Split(pixels, labels, torch.arange(images))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return make_dataset("toy", CLASSES, {"train": split(100, 0), "validation": split(40, 1), "test": split(30, 2)})


@pytest.fixture
def settings(tiny_params: Params) -> TrainParams:
    return tiny_params.run("ads").train.model_copy(update={"batch_size": 32, "epochs": 3})


@pytest.fixture
def new_model(tiny_params: Params) -> Any:
    return lambda seed=0: build(tiny_params.run("ads").model, SHAPE, CLASSES, seed)


def changed(settings: TrainParams, section: str, **changes: Any) -> TrainParams:
    return settings.model_copy(update={section: getattr(settings, section).model_copy(update=changes)})


def epochs_of(model: Classifier, dataset: Dataset, settings: TrainParams) -> list[EpochDone]:
    return [event for event in fit(model, dataset, settings, CPU) if isinstance(event, EpochDone)]


def same_weights(one: Classifier, two: Classifier) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize("regime", ["standard", "pgd_at"])
def test_the_events_describe_every_step_validation_and_epoch(
    new_model: Any, dataset: Dataset, settings: TrainParams, regime: str
) -> None:
    settings = settings.model_copy(update={"regime": regime})
    events = list(fit(new_model(), dataset, settings, CPU))
    a_batch_each = [StepDone] * 4 + [ValidationStep] * 4  # 100, 40 and 40 images in batches of 32
    assert [type(event) for event in events] == [*a_batch_each, EpochDone] * 3

    steps = [event for event in events if isinstance(event, StepDone)]
    assert [each.step for each in steps] == list(range(1, 13))
    assert {each.steps for each in steps} == {12}
    assert [each.images for each in steps] == [e * 100 + n for e in range(3) for n in (32, 64, 96, 100)]
    assert all(each.eta >= 0 and each.images_per_second > 0 for each in steps)
    assert steps[-1].eta == 0

    rows = [event.row for event in events if isinstance(event, EpochDone)]
    assert [row.epoch for row in rows] == [1, 2, 3]
    assert [row.step for row in rows] == [4, 8, 12]
    assert {row.epochs for row in rows} == {3}
    validations = [(event.done, event.total) for event in events if isinstance(event, ValidationStep)]
    assert validations == [(32, 80), (40, 80), (72, 80), (80, 80)] * 3
    lr = settings.optimizer.lr
    assert [row.lr for row in rows] == pytest.approx([lr, 0.5 * (1 + math.cos(math.pi / 3)) * lr, 0.25 * lr])
    assert [row.train_loss for row in rows] == [steps[i].loss for i in (3, 7, 11)]
    if regime == "standard":
        assert [row.train_robust for row in rows] == [None] * 3
        assert [each.robust for each in steps] == [None] * 4 + [rows[0].val_robust] * 4 + [rows[1].val_robust] * 4
        assert all(each.clean is not None for each in steps)
    else:
        assert [row.train_robust for row in rows] == [steps[i].robust for i in (3, 7, 11)]
        assert [each.clean for each in steps] == [None] * 4 + [rows[0].val_clean] * 4 + [rows[1].val_clean] * 4


def test_validation_agrees_with_torchattacks_and_a_plain_count(
    new_model: Any, dataset: Dataset, settings: TrainParams
) -> None:
    """After an epoch the model has the validated weights: torchattacks and a plain count give the same numbers."""
    settings = changed(settings, "selection", adversary=settings.adversary.model_copy(update={"random_start": False}))
    model = new_model()
    x, y = to_unit(dataset.validation.images), dataset.validation.labels
    seen = 0
    for event in fit(model, dataset, settings, CPU):
        if isinstance(event, EpochDone):
            model.eval()
            attack = torchattacks.PGD(model, eps=0.1, alpha=0.025, steps=2, random_start=False)
            assert event.row.val_clean == pytest.approx((model(x).argmax(1) == y).float().mean().item())
            assert event.row.val_robust == pytest.approx((model(attack(x, y)).argmax(1) == y).float().mean().item())
            seen += 1
    assert seen == 3


def test_the_training_images_are_judged_as_the_validation_images_are(
    new_model: Any, dataset: Dataset, settings: TrainParams
) -> None:
    """On a training set that is the validation set both accuracies are the same; torchattacks finds the loss."""
    settings = changed(settings, "selection", adversary=settings.adversary.model_copy(update={"random_start": False}))
    same = make_dataset("toy", CLASSES, {"train": split(40, 1), "validation": split(40, 1), "test": split(30, 2)})
    model = new_model()
    x, y = to_unit(same.validation.images), same.validation.labels
    for event in fit(model, same, settings, CPU):
        if isinstance(event, EpochDone):
            assert event.row.train_eval_robust == event.row.val_robust
            model.eval()
            attack = torchattacks.PGD(model, eps=0.1, alpha=0.025, steps=2, random_start=False)
            assert event.row.val_robust_loss == pytest.approx(F.cross_entropy(model(attack(x, y)), y).item(), rel=1e-4)


def test_the_judged_sample_of_the_training_images_is_the_same_every_time(dataset: Dataset) -> None:
    sample = training_sample(dataset.train, 40, seed=0)
    assert len(sample.indices.unique()) == len(sample) == 40
    assert torch.equal(sample.images, dataset.train.images[sample.indices])
    assert torch.equal(sample.labels, dataset.train.labels[sample.indices])
    assert torch.equal(sample.indices, training_sample(dataset.train, 40, seed=0).indices)
    assert not torch.equal(sample.indices, training_sample(dataset.train, 40, seed=1).indices)
    assert len(training_sample(dataset.train, 1000, seed=0)) == 100


def test_selection_on_test_judges_the_test_split(new_model: Any, dataset: Dataset, settings: TrainParams) -> None:
    model = new_model()
    last = epochs_of(model, dataset, changed(settings, "selection", split="test"))[-1]
    right = (model.eval()(to_unit(dataset.test.images)).argmax(1) == dataset.test.labels).sum().item()
    assert last.row.val_clean == right / 30


@pytest.mark.parametrize("by", ["robust", "clean"])
def test_an_epoch_is_improved_if_it_is_strictly_better_than_all_before(
    new_model: Any, dataset: Dataset, settings: TrainParams, by: str
) -> None:
    settings = changed(settings, "selection", by=by).model_copy(update={"epochs": 8})
    done = epochs_of(new_model(), dataset, settings)
    keys = ("val_robust", "val_clean") if by == "robust" else ("val_clean", "val_robust")
    scores = [tuple(getattr(event.row, key) for key in keys) for event in done]
    assert [event.improved for event in done] == [i == 0 or s > max(scores[:i]) for i, s in enumerate(scores)]
    assert sum(event.improved for event in done) > 1


def test_the_earliest_epoch_wins_a_tie(new_model: Any, dataset: Dataset, settings: TrainParams) -> None:
    """Nothing is learned here, and every epoch is validated under the same noise, so all epochs are equally good."""
    settings = changed(settings, "optimizer", lr=1e-30, ssm_lr=1e-30)
    settings = changed(settings, "selection", adversary=settings.adversary.model_copy(update={"eps": 0.4}))
    done = epochs_of(new_model(), dataset, settings)
    assert [event.improved for event in done] == [True, False, False]
    assert len({(event.row.val_clean, event.row.val_robust) for event in done}) == 1


def test_equal_seeds_give_equal_bits(new_model: Any, dataset: Dataset, settings: TrainParams) -> None:
    settings = changed(settings, "augment", crop=1, flip=True)
    first, again, other = new_model(), new_model(), new_model()
    state = torch.get_rng_state()
    rows = [[e.row._asdict() for e in epochs_of(model, dataset, settings)] for model in (first, again)]
    epochs_of(other, dataset, settings.model_copy(update={"seed": 1}))
    assert torch.equal(torch.get_rng_state(), state)
    assert same_weights(first, again)
    assert not same_weights(first, other)
    timeless = [[{**row, "seconds": 0, "images_per_second": 0} for row in each] for each in rows]
    assert timeless[0] == timeless[1]


def test_averaging_does_not_change_the_weights_that_are_trained(
    new_model: Any, dataset: Dataset, settings: TrainParams
) -> None:
    """The averaged run validates and yields its average; the trained weights are the same bit for bit."""
    averaged = settings.model_copy(update={"averaging": AveragingParams(decay=0.9)})
    raw, watched = new_model(), new_model()
    plain = epochs_of(raw, dataset, settings)
    state, rows, x = torch.zeros(0), [], to_unit(dataset.validation.images)
    reference = AveragedModel(watched, 0.9)
    for event in fit(watched, dataset, averaged, CPU):
        if isinstance(event, StepDone):
            reference.update(watched)
        if isinstance(event, EpochDone):
            rows.append(event.row)
            assert event.model is not watched
            assert same_weights(event.model, reference.model)
            state = event.model.eval()(x)
            right = (state.argmax(1) == dataset.validation.labels).sum().item()
            assert event.row.val_clean == right / 40
    assert same_weights(raw, watched)
    assert [row.train_loss for row in rows] == [event.row.train_loss for event in plain]
    assert all(event.model is raw for event in plain)


def test_patience_ends_a_training_that_does_not_get_better(
    new_model: Any, dataset: Dataset, settings: TrainParams
) -> None:
    """Nothing is learned here, so that the first epoch stays the best."""
    settings = changed(settings, "optimizer", lr=1e-30, ssm_lr=1e-30).model_copy(update={"epochs": 6})
    assert len(epochs_of(new_model(), dataset, settings)) == 6
    for patience, warmup, epochs in ((1, 0, 2), (2, 0, 3), (2, 3, 5), (2, 1, 3), (9, 0, 6)):
        patient = settings.model_copy(update={"patience": patience, "warmup": warmup})
        assert len(epochs_of(new_model(), dataset, patient)) == epochs, (patience, warmup)


def test_every_epoch_is_judged_under_the_same_noise(new_model: Any, dataset: Dataset, settings: TrainParams) -> None:
    """The weights do not move, and the attack starts at random: the loss on attacked images stays the same bits."""
    assert settings.selection.adversary.random_start
    settings = changed(settings, "optimizer", lr=1e-30, ssm_lr=1e-30).model_copy(update={"epochs": 2})
    one, two = (event.row for event in epochs_of(new_model(), dataset, settings))
    assert (one.val_robust_loss, one.train_eval_robust) == (two.val_robust_loss, two.train_eval_robust)


def test_patience_counts_from_the_best_epoch(new_model: Any, dataset: Dataset, settings: TrainParams) -> None:
    settings = settings.model_copy(update={"epochs": 12})
    whole = epochs_of(new_model(), dataset, settings)
    patient = epochs_of(new_model(), dataset, settings.model_copy(update={"patience": 2}))
    improved = [event.improved for event in whole]
    warmup = settings.warmup
    end = next((i for i in range(warmup + 1, 12) if not any(improved[i - 1 : i + 1])), 11)
    assert [event.improved for event in patient] == improved[: end + 1]
    assert 2 < len(patient) < 12


@pytest.mark.parametrize(("replays", "ends"), [(1, 10), (2, 6), (4, 4)])
def test_patience_counts_from_the_end_of_the_warm_up_which_replays_shorten(
    settings: TrainParams, replays: int, ends: int
) -> None:
    """A warm-up of 8 epochs is over after 8 / replays passes; then come two passes without a better one."""
    changes = {"free": FreeParams(replays=replays), "warmup": 8, "patience": 2, "epochs": 40}
    patient = settings.model_copy(update=changes)
    rows = [Row(epoch, epoch, 0.1, 1.0, None, 0.5, 0.5, 1.0, 1.0) for epoch in range(1, 11)]
    assert next(done for done in range(1, 11) if out_of_patience(rows[:done], patient)) == ends


def test_free_divides_its_epochs_by_its_replays(new_model: Any, dataset: Dataset, settings: TrainParams) -> None:
    """6 epochs with 3 replays are 2 passes with 3 steps per batch: as many steps as 6 epochs of any regime."""
    strength = {"eps": 0.1, "alpha": 0.1, "steps": 1, "random_start": False}
    raw = settings.plain() | {"regime": "free", "free": {"replays": 3}, "epochs": 6, "adversary": strength}
    events = list(fit(new_model(), dataset, TrainParams.model_validate(raw), CPU))
    steps = [event for event in events if isinstance(event, StepDone)]
    rows = [event.row for event in events if isinstance(event, EpochDone)]
    assert [each.step for each in steps] == list(range(1, 25))
    assert {(each.steps, each.epochs) for each in steps} == {(24, 2)}
    assert [(row.epoch, row.step) for row in rows] == [(1, 12), (2, 24)]
    assert steps[-1].images == 600
    assert rows[-1].lr == pytest.approx(settings.optimizer.lr / 2)  # half of the cosine's way


def test_generators_of_different_purposes_differ() -> None:
    draws = {
        tuple(torch.rand(3, generator=named_generator(s, p)).tolist()) for s in (0, 1, -1) for p in ("order", "start")
    }
    assert len(draws) == 6
    assert torch.equal(
        torch.rand(3, generator=named_generator(5, "a")), torch.rand(3, generator=named_generator(5, "a"))
    )


def test_adversarial_training_learns_and_becomes_robust(
    new_model: Any, dataset: Dataset, settings: TrainParams
) -> None:
    settings = changed(settings.model_copy(update={"epochs": 30}), "optimizer", lr=5e-3)
    last = epochs_of(new_model(), dataset, settings)[-1].row
    assert last.val_clean > 0.9
    assert last.val_robust > 0.9
    assert last.train_loss < 0.5


LEARNING: dict[str, dict[str, Any]] = {
    "standard": {"regime": "standard"},
    "jacobian": {"regime": "jacobian", "jacobian": {"weight": 0.1, "projections": 1}},
    "pgd_at, l2": {"adversary": {"norm": "l2", "eps": 1.0, "alpha": 0.5}},
    "pgd_at, awp": {"awp": {"gamma": 0.005}},
    "trades": {"regime": "trades", "trades": {"beta": 6.0}},
    "mart": {"regime": "mart", "mart": {"beta": 5.0}},
    "free": {"regime": "free", "free": {"replays": 2}, "adversary": {"alpha": 0.1, "steps": 1, "random_start": False}},
    "yopo": {"regime": "yopo", "yopo": {"propagations": 2}},
    "fgsm": {"regime": "fgsm", "fgsm": {"noise": 1.0, "clip": True}, "adversary": {"alpha": 0.125, "steps": 1}},
    "n-fgsm": {"regime": "fgsm", "fgsm": {"noise": 2.0, "clip": False}, "adversary": {"alpha": 0.1, "steps": 1}},
}


@pytest.mark.slow
def test_every_regime_learns_and_becomes_more_robust_than_standard_training(
    new_model: Any, dataset: Dataset, settings: TrainParams
) -> None:
    """Judged in L-inf for every training norm, and far above standard training of the same length."""
    shared = settings.plain() | {"epochs": 20}
    shared["adversary"] = shared["adversary"] | {"alpha": 0.05, "steps": 3}
    judge = settings.adversary.model_copy(update={"steps": 10})
    robust = {}
    for name, changes in LEARNING.items():
        learning = changed(TrainParams.model_validate(merged(shared, changes)), "optimizer", lr=1e-2)
        last = epochs_of(new_model(), dataset, changed(learning, "selection", adversary=judge))[-1].row
        assert last.val_clean > 0.95, name
        robust[name] = last.val_robust
    assert robust.pop("standard") < 0.5
    assert min(robust.values()) > 0.7, robust


def test_a_loss_that_is_not_finite_ends_the_training(new_model: Any, dataset: Dataset, settings: TrainParams) -> None:
    model = new_model()
    for event in (events := fit(model, dataset, settings, CPU)):
        if isinstance(event, EpochDone):
            break
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(math.nan)
    with pytest.raises(Diverged, match="nan at epoch 2, step 5"):
        next(events)


def test_standard_is_the_textbook_loop(new_model: Any, dataset: Dataset, settings: TrainParams) -> None:
    data = two_batches(dataset)
    settings = settings.model_copy(update={"regime": "standard"})
    ours, theirs = new_model(), new_model()
    seen = run(regime_of(settings, ours), data, attack_from(settings.adversary))
    assert losses(seen) == pytest.approx(textbook(theirs, data, settings))
    assert [(result.images, result.right_robust) for result in seen] == [(32, None), (8, None)]
    close_weights(ours, theirs)


def test_pgd_at_is_the_textbook_loop_on_torchattacks_images(
    new_model: Any, dataset: Dataset, settings: TrainParams
) -> None:
    data = two_batches(dataset)
    ours, theirs = new_model(), new_model()
    seen = run(regime_of(settings, ours), data, replace(attack_from(settings.adversary), random_start=False))
    attack = torchattacks.PGD(theirs, eps=0.1, alpha=0.025, steps=2, random_start=False)
    assert losses(seen) == pytest.approx(textbook(theirs, data, settings, attack), rel=1e-4)
    assert losses(seen)[0] > textbook(new_model(), data[:1], settings)[0]
    assert [(result.images, result.right_clean) for result in seen] == [(32, None), (8, None)]
    close_weights(ours, theirs, atol=1e-4)


def two_batches(dataset: Dataset) -> list[tuple[Tensor, Tensor]]:
    x, y = to_unit(dataset.train.images), dataset.train.labels
    return [(x[:32], y[:32]), (x[32:40], y[32:40])]


def optimizer_of(model: Classifier, settings: TrainParams) -> tuple[Any, Any]:
    optimizer = make_optimizer(model, settings.optimizer)
    return optimizer, make_schedule(optimizer, settings.optimizer, 20)


def losses(seen: list[BatchResult]) -> list[float]:
    return [batch.loss for batch in seen]


def textbook(
    model: Classifier, data: list[tuple[Tensor, Tensor]], settings: TrainParams, attack: Any = lambda x, y: x
) -> list[float]:
    optimizer, schedule = optimizer_of(model, settings)
    result = []
    for x, y in data:
        x = attack(x, y)
        model.zero_grad()
        loss = F.nll_loss(model.train()(x).log_softmax(1), y)
        loss.backward()
        optimizer.step()
        schedule.step()
        result.append(loss.item())
    return result


def close_weights(one: Classifier, two: Classifier, atol: float = 1e-6) -> None:
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=atol)


def test_results_merge_in_proportion_to_their_images() -> None:
    both = BatchResult(1.0, 30, 3, None).merged_with(BatchResult(4.0, 10, 5, None))
    assert both == BatchResult(1.75, 40, 8, None)
    assert (both.clean_accuracy, both.robust_accuracy) == (0.2, None)
