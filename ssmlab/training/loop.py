"""The training loop: epochs, validation, selection. It yields what happens and knows neither files nor screens."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from ssmlab.artifacts.history import Row
from ssmlab.core.progress import ProgressMeter
from ssmlab.core.seeds import seed_of
from ssmlab.data.batches import batches, shuffled
from ssmlab.data.dataset import Dataset, Split
from ssmlab.nets.classifier import Classifier
from ssmlab.params import TrainParams
from ssmlab.training.adversary import pgd
from ssmlab.training.averaging import Averaged
from ssmlab.training.distributed import Group
from ssmlab.training.events import Batch, Diverged, EpochDone, StepDone, ValidationStep, correct
from ssmlab.training.optimizer import make_optimizer, make_schedule
from ssmlab.training.regimes.free import CarriedDelta
from ssmlab.training.regimes.select import regime
from ssmlab.training.sharding import Share, SharedGenerator
from ssmlab.training.state import Parts, State, dropout_generator
from ssmlab.training.warmup import warmed_up

ALONE = Group()


def fit(
    model: Classifier,
    dataset: Dataset,
    params: TrainParams,
    device: torch.device,
    state: State | None = None,
    group: Group = ALONE,
) -> Iterator[StepDone | ValidationStep | EpochDone]:
    """Train `model`, which is on `device`, on `dataset.train`; choose the best epoch on `params.selection.split`.

    An epoch is one pass over the images, whatever the regime's replays; `params.patience` may end it all early. With
    `params.averaging` it is the average of the weights that is validated, selected and handed out.

    Data order, augmentation, and the random draws of training and of validation come from generators of their own,
    derived from `params.seed`. Dropout draws from torch's global one.

    With the `state` of an earlier epoch it goes on after that epoch, as if it had never stopped: same params, data
    set, device and thread count give the same bits. The global generator is then set to where it was.

    The processes of `group` train one model together, from the same arguments, and see the same events: a batch is
    `params.batch_size` images over all of them. Their number changes the result by rounding only, and by dropout,
    which every process draws for itself.

    Raises:
        Diverged: the loss of a step is NaN or infinite, or a weight is at the end of an epoch.
    """
    train, held_out = dataset.train.to(device), getattr(dataset, params.selection.split).to(device)
    order, crops = generator(params.seed, "order"), generator(params.seed, "augmentation")
    share = group.share(params.batch_size)
    starts = shared_generator(params.seed, "training attack", device, share)

    batches_per_epoch = math.ceil(len(train) / params.batch_size)
    steps = params.epochs * batches_per_epoch
    optimizer = make_optimizer(model, params.optimizer)
    schedule = make_schedule(optimizer, params.optimizer, steps)
    dropout = dropout_generator(device)
    generators = {"order": order, "augmentation": crops, "starts": starts, "dropout": dropout}

    average = None if params.averaging is None else Averaged(model, params.averaging.decay)
    delta = None if params.free is None else CarriedDelta(params.batch_size, dataset.image_shape, device, share)
    carried = {name: each for name, each in (("average", average), ("delta", delta)) if each is not None}
    parts = Parts(model, optimizer, schedule, generators, carried)

    rows: list[Row] = []
    if state is not None:
        parts.restore(state.tensors)
        rows = list(state.rows)
    trained = group.replicated(model, share)
    step = first = rows[-1].step if rows else 0
    clean, robust = (rows[-1].val_clean, rows[-1].val_robust) if rows else (None, None)
    adversaries = warmed_up(params.adversary, params.warmup * batches_per_epoch, first)
    meter = ProgressMeter(steps, done=first)

    for epoch in range(len(rows) + 1, params.passes + 1):
        if out_of_patience(rows, params):
            return
        epoch_began, lr, rate = time.perf_counter(), schedule.get_last_lr()[0], 0.0
        if group.rank > 0:  # not the numbers of process 0; anew every epoch, so that the state need not know of them
            dropout.manual_seed(seed_of(params.seed, f"dropout of process {group.rank} in epoch {epoch}"))

        same_order = order.clone_state()
        data = Counted(
            batches(train, params.batch_size, shuffle=order, augment=params.augment, augment_generator=crops), share
        )
        seen = Batch(loss=0.0, images=0, clean=0, robust=0)
        for own in regime(params, trained, data, optimizer, schedule, adversaries, starts, delta):
            batch = whole(own, share, group)
            step += 1
            meter.advance()
            if not math.isfinite(batch.loss):
                drawn = shuffled(len(train), same_order)[(data.count - 1) * params.batch_size :][: params.batch_size]
                images = train.indices.cpu()[drawn.cpu()].tolist()
                raise Diverged(f"the loss is {batch.loss} at epoch {epoch}, step {step}", tuple(images))
            if average is not None:
                average.update(model)
            seen = seen.joined(batch)
            rate = seen.images / (time.perf_counter() - epoch_began)
            yield StepDone(
                epoch=epoch,
                epochs=params.passes,
                step=step,
                steps=steps,
                loss=seen.loss,
                clean=clean if seen.clean is None else seen.clean_accuracy,
                robust=robust if seen.robust is None else seen.robust_accuracy,
                images=(epoch - 1) * len(train) * params.replays + seen.images,
                images_per_second=rate,
                eta=meter.eta,
            )

        if delta is not None:
            delta.value = group.joined_rows(delta.value, share)
        if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
            raise Diverged(f"a weight is no longer finite after epoch {epoch}, step {step}")

        result = model if average is None else average.model
        right_clean, right_robust = 0, 0
        for judged, batch_clean, batch_robust in validate(result, held_out, params, device, group):
            right_clean, right_robust = right_clean + batch_clean, right_robust + batch_robust
            yield ValidationStep(epoch, params.passes, judged, len(held_out), meter.eta)
        clean, robust = right_clean / len(held_out), right_robust / len(held_out)

        row = Row(
            epoch=epoch,
            step=step,
            lr=float(lr),
            train_loss=seen.loss,
            train_robust=seen.robust_accuracy,
            val_clean=clean,
            val_robust=robust,
            seconds=round(time.perf_counter() - epoch_began, 3),
            images_per_second=round(rate, 1),
        )
        improved = not rows or score(row, params) > max(score(earlier, params) for earlier in rows)
        rows.append(row)
        yield EpochDone(row, improved, result, State(tuple(rows), parts.tensors()))


def score(row: Row, params: TrainParams) -> tuple[float, float]:
    """What selection compares of an epoch."""
    return params.selection.score(row.val_clean, row.val_robust)


def out_of_patience(rows: Sequence[Row], params: TrainParams) -> bool:
    """Whether `patience` epochs, none of the warm-up among them, have brought nothing better than the best one."""
    if params.patience is None or not rows:
        return False
    best = max(rows, key=lambda row: score(row, params))  # of equals the first
    return rows[-1].epoch - max(best.epoch, params.warmup / params.replays) >= params.patience


class Counted:
    """A process's share of an epoch's batches, and how many have been drawn: a regime may take several steps on one."""

    def __init__(self, data: Iterable[tuple[Tensor, Tensor]], share: Share) -> None:
        self.data = iter(data)
        self.share = share
        self.count = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        x, y = next(self.data)
        self.count += 1
        self.share.take(len(y))
        return x[self.share.rows], y[self.share.rows]


def whole(own: Batch, share: Share, group: Group) -> Batch:
    """What all processes saw of a batch, from what each saw of its share."""
    if group.size == 1:
        return own
    counts = (own.loss * share.images, own.clean or 0, own.robust or 0) if share.images else (0.0, 0, 0)
    loss, clean, robust = group.summed(*counts)
    return Batch(
        loss=loss / share.batch,
        images=share.batch,
        clean=None if own.clean is None else round(clean),
        robust=None if own.robust is None else round(robust),
    )


def validate(
    model: Classifier, split: Split, params: TrainParams, device: torch.device, group: Group
) -> Iterator[tuple[int, int, int]]:
    """Judge `model` on `split`, clean and attacked by `params.selection.adversary`, on a frozen copy.

    The attack's random starts are the same at every call, so that epochs are compared under one noise.

    Yields:
        after every batch: images judged so far, and how many of the batch were right, clean and attacked.
    """
    frozen = model.freeze()
    share = group.share(params.batch_size)
    starts = shared_generator(params.seed, "validation attack", device, share)
    judged = 0
    for x, y in Counted(batches(split, params.batch_size), share):
        x_adv = pgd(frozen, x, y, params.selection.adversary, starts)
        with torch.no_grad():
            right = Batch(0.0, len(y), correct(frozen(x), y), correct(frozen(x_adv), y))
        seen = whole(right, share, group)
        judged += seen.images
        yield judged, seen.clean or 0, seen.robust or 0


def generator(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of its own for one purpose of one training: equal arguments draw equal numbers."""
    return torch.Generator(device).manual_seed(seed_of(seed, purpose))


def shared_generator(seed: int, purpose: str, device: torch.device, share: Share) -> SharedGenerator:
    """As `generator`, for numbers that belong to the images of the batch that `share` is of."""
    drawn = SharedGenerator(device)
    drawn.share = share
    drawn.manual_seed(seed_of(seed, purpose))
    return drawn
