"""A training resumed from a saved state gives the bits of one that never stopped."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ssmlab.data.dataset import Dataset, Split, make_dataset
from ssmlab.data.pixels import to_unit
from ssmlab.nets.build import build
from ssmlab.nets.classifier import Classifier
from ssmlab.params import Params, TrainParams
from ssmlab.training.averaging import AveragedModel
from ssmlab.training.events import Diverged, EpochDone, StepDone
from ssmlab.training.loop import fit
from ssmlab.training.optimizer import make_optimizer, make_schedule
from ssmlab.training.regimes.free import CarriedDelta
from ssmlab.training.state import Parts, TrainingState

CPU = torch.device("cpu")
SHAPE, CLASSES = (1, 14, 14), 3
SECTIONS: dict[str, dict[str, Any]] = {
    "standard": {"regime": "standard"},
    "pgd_at": {},
    "trades": {"regime": "trades", "trades": {"beta": 6.0}},
    "mart": {"regime": "mart", "mart": {"beta": 5.0}},
    "free": {"regime": "free", "free": {"replays": 2}},
    "yopo": {"regime": "yopo", "yopo": {"propagations": 2}},
    "fgsm": {"regime": "fgsm", "fgsm": {"noise": 1.0, "clip": True}},
    "jacobian": {"regime": "jacobian", "jacobian": {"weight": 0.1, "projections": 2}},
    "awp": {"awp": {"gamma": 0.01, "warmup": 2}},
    "averaging": {"averaging": {"decay": 0.9}},
}
POISON = 77  # the one training image whose first pixel is 255


def split(images: int, seed: int) -> Split:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (images,), generator=draw)
    pixels = torch.randint(250, (images, *SHAPE), generator=draw, dtype=torch.uint8)
    return Split(pixels, labels, 1000 + torch.arange(images))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    train = split(100, 0)
    train.images[POISON, 0, 0, 0] = 255
    return make_dataset("toy", CLASSES, {"train": train, "validation": split(40, 1), "test": split(30, 2)})


@pytest.fixture
def settings(tiny_params: Params) -> TrainParams:
    """Everything random or changing is on: augmentation, warm-up past an epoch, random starts, a falling rate."""
    augment = tiny_params.run("ads").train.augment.model_copy(update={"crop": 1, "flip": True})
    changes = {"batch_size": 32, "epochs": 4, "warmup": 2, "augment": augment}
    return tiny_params.run("ads").train.model_copy(update=changes)


@pytest.fixture
def new_model(tiny_params: Params) -> Any:
    with_dropout = tiny_params.run("ads").model.model_copy(update={"dropout": 0.3})
    return lambda seed=0: build(with_dropout, SHAPE, CLASSES, seed)


def trained(
    model: Classifier, dataset: Dataset, settings: TrainParams, state: TrainingState | None, rng: int
) -> list[EpochDone]:
    """The epochs of a training with dropout drawing from a global generator that was left at `rng`."""
    with torch.random.fork_rng():
        torch.manual_seed(rng)
        return [event for event in fit(model, dataset, settings, CPU, state) if isinstance(event, EpochDone)]


def timeless(events: list[EpochDone]) -> list[Any]:
    return [(event.row._replace(seconds=0, images_per_second=0), event.improved) for event in events]


def same(one: dict[str, Tensor] | Any, two: dict[str, Tensor] | Any) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("name", SECTIONS)
def test_a_training_resumed_after_any_epoch_ends_with_the_bits_of_one_that_never_stopped(
    new_model: Any, dataset: Dataset, settings: TrainParams, name: str
) -> None:
    raw = settings.plain() | SECTIONS[name]
    if name in ("free", "fgsm"):
        raw["adversary"] |= {"steps": 1, "random_start": name == "fgsm"}
    settings = TrainParams.model_validate(raw)
    whole = trained(new_model(), dataset, settings, None, rng=0)
    assert [event.row.epoch for event in whole] == list(range(1, settings.passes + 1))
    moved = {
        name.split(".")[0]
        for name, tensor in whole[0].state.tensors.items()
        if not torch.equal(tensor, whole[1].state.tensors[name])
    }
    assert moved - {"carried"} == {"model", "optimizer", "schedule", "generator"}
    assert ("carried" in moved) == (name in ("free", "averaging"))
    for done, event in enumerate(whole, start=1):
        before = {name: tensor.clone() for name, tensor in event.state.tensors.items()}
        rest = trained(new_model(seed=9), dataset, settings, event.state, rng=done)
        assert timeless(rest) == timeless(whole[done:])
        assert [e.state.rows[:done] for e in rest] == [event.state.rows] * len(rest)
        if rest:
            assert same(rest[-1].state.tensors, whole[-1].state.tensors)
        assert same(before, event.state.tensors)  # continuing from a state does not change the state


def test_awp_after_a_warmup_equals_awp_that_continues_a_training_without_it(
    new_model: Any, dataset: Dataset, settings: TrainParams
) -> None:
    def awp(**said: Any) -> TrainParams:
        return TrainParams.model_validate(settings.plain() | {"awp": {"gamma": 0.01, **said}})

    late = trained(new_model(), dataset, awp(warmup=2), None, rng=0)
    without = trained(new_model(), dataset, settings, None, rng=0)
    assert timeless(late[:2]) == timeless(without[:2])
    assert not same(late[2].state.tensors, without[2].state.tensors)
    gone_on = trained(new_model(), dataset, awp(), without[1].state, rng=0)
    assert timeless(gone_on) == timeless(late[2:])
    assert same(gone_on[-1].state.tensors, late[-1].state.tensors)


@pytest.mark.parametrize("part", ["optimizer.", "generator.order", "generator.dropout", "generator.starts"])
def test_resuming_with_one_part_of_another_epochs_state_changes_the_bits(
    new_model: Any, dataset: Dataset, settings: TrainParams, part: str
) -> None:
    """With one part of another epoch the bits differ, so the test above would notice if a part were lost."""
    first, second, *_, last = trained(new_model(), dataset, settings, None, rng=0)
    mixed = {n: (first if n.startswith(part) else second).state.tensors[n] for n in second.state.tensors}
    rest = trained(new_model(), dataset, settings, TrainingState(second.state.rows, mixed), rng=0)
    assert not same(rest[-1].state.tensors, last.state.tensors)


def test_steps_and_time_left_continue_after_a_resume(new_model: Any, dataset: Dataset, settings: TrainParams) -> None:
    state = trained(new_model(), dataset, settings, None, rng=0)[1].state
    steps = [event for event in fit(new_model(), dataset, settings, CPU, state) if isinstance(event, StepDone)]
    assert [event.step for event in steps] == list(range(9, 17))
    assert [event.images for event in steps][-1] == 400
    assert steps[0].clean == state.rows[-1].val_clean
    assert all(event.eta >= 0 for event in steps)


@pytest.fixture
def parts(new_model: Any, settings: TrainParams) -> Parts:
    model = new_model()
    optimizer = make_optimizer(model, settings.optimizer)
    generators = {"order": torch.Generator().manual_seed(3)}
    parts = Parts(model, optimizer, make_schedule(optimizer, settings.optimizer, 10), generators)
    model(torch.rand(2, *SHAPE)).sum().backward()
    optimizer.step()
    parts.schedule.step()
    return parts


def test_a_restored_schedule_is_in_the_state_that_was_saved(parts: Parts) -> None:
    saved, before = parts.tensors(), parts.schedule.state_dict()
    for _ in range(3):
        parts.optimizer.step()
        parts.schedule.step()
    assert parts.schedule.state_dict() != before
    parts.restore(saved)
    assert parts.schedule.state_dict() == before


def test_state_that_a_regime_carries_is_restored(parts: Parts) -> None:
    delta, average = CarriedDelta(2, SHAPE), AveragedModel(parts.model, 0.9)  # type: ignore[arg-type]
    parts = replace(parts, carried={"delta": delta, "average": average})
    delta.value.copy_(torch.rand(2, *SHAPE))
    average.update(parts.model)  # type: ignore[arg-type]
    saved = parts.tensors()
    delta.value.zero_()
    average.updates = 7
    parts.restore(saved)
    assert torch.equal(delta.value, saved["carried.delta.value"])
    assert average.updates == 1
    assert same(parts.tensors(), saved)


@pytest.mark.parametrize("name", ["model.head.weight", "schedule.lr", "generator.order"])
def test_a_missing_tensor_is_refused(parts: Parts, name: str) -> None:
    saved = parts.tensors()
    del saved[name]
    with pytest.raises((KeyError, RuntimeError, ValueError)):
        parts.restore(saved)


@pytest.mark.parametrize("name", ["other.thing", "generator.crops", "model.tail.weight", "optimizer.99.exp_avg"])
def test_an_unknown_tensor_is_refused(parts: Parts, name: str) -> None:
    with pytest.raises((IndexError, RuntimeError, ValueError)):
        parts.restore({**parts.tensors(), name: torch.zeros(3)})


@pytest.mark.parametrize("name", ["model.head.weight", "optimizer.0.exp_avg"])
def test_a_tensor_of_another_shape_is_refused(parts: Parts, name: str) -> None:
    with pytest.raises((RuntimeError, ValueError)):
        parts.restore({**parts.tensors(), name: torch.zeros(3)})


@pytest.mark.parametrize("state_after", [0, 2])
def test_a_loss_that_is_not_finite_is_reported_with_the_images_of_its_batch(
    new_model: Any, dataset: Dataset, settings: TrainParams, state_after: int
) -> None:
    """The image that breaks the model is in the batch that the error names, and that batch has the right size."""
    plain = settings.augment.model_copy(update={"crop": 0, "flip": False})
    settings = settings.model_copy(update={"regime": "standard", "augment": plain})
    state = trained(new_model(), dataset, settings, None, rng=0)[state_after - 1].state if state_after else None
    model, seen = new_model(), []

    def poisoned(module: Any, inputs: tuple[Tensor, ...], logits: Tensor) -> Tensor:
        seen.append(inputs[0])
        return logits * math.nan if (inputs[0][:, 0, 0, 0] == 1).any() else logits

    model.register_forward_hook(poisoned)
    with pytest.raises(Diverged, match=f"nan at epoch {state_after + 1}, step") as caught:
        list(fit(model, dataset, settings, CPU, state))
    assert 1000 + POISON in caught.value.images
    expected = to_unit(dataset.train.images[torch.tensor(caught.value.images) - 1000])
    assert torch.equal(expected, seen[-1])


def test_weights_that_are_not_finite_end_the_training_before_they_are_saved(
    new_model: Any, dataset: Dataset, settings: TrainParams
) -> None:
    model = new_model()
    with pytest.raises(Diverged, match="weight is no longer finite after epoch 1, step 4"):
        for event in fit(model, dataset, settings, CPU):
            if isinstance(event, StepDone) and event.step == 4:
                with torch.no_grad():
                    next(model.parameters()).view(-1)[0] = math.inf
