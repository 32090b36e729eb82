"""The training loop: epochs, validation, selection. It yields events and does not know of files or screens."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator

import torch

from ssmlab.artifacts.history import Row
from ssmlab.core.progress import ProgressMeter
from ssmlab.core.seeds import seed_of
from ssmlab.data.batches import batches, epoch_order
from ssmlab.data.dataset import Dataset
from ssmlab.nets.classifier import Classifier
from ssmlab.params import TrainParams
from ssmlab.training.attack import attack_from
from ssmlab.training.averaging import AveragedModel
from ssmlab.training.distributed import Group
from ssmlab.training.events import NO_IMAGES, BatchResult, Diverged, EpochDone, StepDone, ValidationStep
from ssmlab.training.generators import shared_generator, training_generators
from ssmlab.training.optimizer import make_optimizer, make_schedule
from ssmlab.training.regimes import make_regime
from ssmlab.training.regimes.base import Learner
from ssmlab.training.selection import is_best, out_of_patience
from ssmlab.training.sharding import LocalBatches
from ssmlab.training.state import Carried, Parts, TrainingState
from ssmlab.training.validation import judge_split, training_sample
from ssmlab.training.warmup import warmed_up

ALONE = Group()


def fit(
    model: Classifier,
    dataset: Dataset,
    params: TrainParams,
    device: torch.device,
    state: TrainingState | None = None,
    group: Group = ALONE,
) -> Iterator[StepDone | ValidationStep | EpochDone]:
    """Train `model`, which is on `device`, on `dataset.train`; choose the best epoch on `params.selection.split`.

    An epoch is one pass over the images, however often the regime replays each batch; `params.patience` may end
    training early. With `params.averaging` the average of the weights is validated, selected and yielded.

    Data order, augmentation, and the random draws of training and of validation each have their own generator, derived
    from `params.seed`. Dropout draws from torch's global generator.

    With the `state` of an earlier epoch, training continues after that epoch as if it had never stopped: the same
    params, data set, device and number of threads give the same bits. The global generator is restored too.

    The ranks of `group` train one model together. They must pass the same arguments and see the same events; a batch is
    `params.batch_size` images over all ranks. The number of ranks changes the result only by rounding and by dropout,
    which every rank draws independently.

    Raises:
        Diverged: the loss of a step, or a weight at the end of an epoch, is NaN or infinite.
    """
    training = Training(model, dataset, params, device, state, group)
    while training.epochs_done < params.passes and not out_of_patience(training.rows, params):
        yield from training.epoch()


class Training:
    """A training in progress: each call of `epoch` trains one more epoch.

    Attributes:
        rows: the history so far, one row per epoch.
        step, steps: optimiser steps so far, and of the whole training.
    """

    def __init__(
        self,
        model: Classifier,
        dataset: Dataset,
        params: TrainParams,
        device: torch.device,
        state: TrainingState | None,
        group: Group,
    ) -> None:
        self.model, self.params, self.device, self.group = model, params, device, group
        self.train_split = dataset.train.to(device)
        self.held_out = getattr(dataset, params.selection.split).to(device)
        self.sample = training_sample(self.train_split, len(self.held_out), params.seed)
        batches_per_epoch = math.ceil(len(dataset.train) / params.batch_size)
        self.steps = params.epochs * batches_per_epoch
        self.shard = group.shard(params.batch_size)
        self.generators = training_generators(params.seed, device, self.shard)

        optimizer = make_optimizer(model, params.optimizer)
        self.schedule = make_schedule(optimizer, params.optimizer, self.steps)
        trainable, starts = group.replicated(model, self.shard), self.generators["starts"]
        learner = Learner(trainable, optimizer, self.schedule, starts, self.shard, dataset.image_shape)
        self.regime = make_regime(learner, params)
        self.average = None if params.averaging is None else AveragedModel(model, params.averaging.decay)

        carried: dict[str, Carried] = {**self.regime.carried}
        if self.average is not None:
            carried["average"] = self.average
        self.parts = Parts(model, optimizer, self.schedule, self.generators, carried)
        if state is not None:
            self.parts.restore(state.tensors)
        self.rows: list[Row] = [] if state is None else list(state.rows)
        self.step = self.rows[-1].step if self.rows else 0
        self.attacks = warmed_up(attack_from(params.adversary), params.warmup * batches_per_epoch, self.step)
        self.meter = ProgressMeter(self.steps, done=self.step)

    @property
    def epochs_done(self) -> int:
        return len(self.rows)

    def epoch(self) -> Iterator[StepDone | ValidationStep | EpochDone]:
        """Train on every image once, validate, and add a row to the history."""
        began, lr = time.perf_counter(), float(self.schedule.get_last_lr()[0])
        trained, rate = yield from self.train(began)
        self.regime.end_epoch(self.group)
        self.check_weights()
        model = self.model if self.average is None else self.average.model
        judged, judged_sample = yield from self.validate(model)
        assert judged.clean_accuracy is not None and judged.robust_accuracy is not None
        row = Row(
            epoch=self.epochs_done + 1,
            step=self.step,
            lr=lr,
            train_loss=trained.loss,
            train_robust=trained.robust_accuracy,
            val_clean=judged.clean_accuracy,
            val_robust=judged.robust_accuracy,
            seconds=round(time.perf_counter() - began, 3),
            images_per_second=round(rate, 1),
            val_robust_loss=judged.loss,
            train_eval_robust=judged_sample.robust_accuracy,
            epochs=self.params.passes,
        )
        improved = is_best(row, self.rows, self.params)
        self.rows.append(row)
        yield EpochDone(row, improved, model, TrainingState(tuple(self.rows), self.parts.tensors()))

    def train(self, began: float) -> Generator[StepDone, None, tuple[BatchResult, float]]:
        """The epoch's optimiser steps; returns the result over its images, and images per second since `began`."""
        epoch = self.epochs_done + 1
        # the state holds rank 0's generator only; other ranks need different numbers, so they reseed every epoch
        if self.group.rank > 0:
            purpose = f"dropout of process {self.group.rank} in epoch {epoch}"
            self.generators["dropout"].manual_seed(seed_of(self.params.seed, purpose))
        order_before = self.generators["order"].clone_state()
        data = LocalBatches(self.epoch_batches(), self.shard)
        seen, rate = NO_IMAGES, 0.0
        self.regime.model.train()
        self.regime.begin_epoch(self.epochs_done)
        for local in self.optimizer_steps(data):
            result = self.group.reduced(local, self.shard)
            self.step += 1
            self.meter.advance()
            if not math.isfinite(result.loss):
                raise self.diverged(result.loss, order_before, data.count)
            if self.average is not None:
                self.average.update(self.model)
            seen = seen.merged_with(result)
            rate = seen.images / (time.perf_counter() - began)
            yield self.step_done(epoch, seen, rate)
        return seen, rate

    def epoch_batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The training images in a new order, augmented."""
        return batches(
            self.train_split,
            self.params.batch_size,
            shuffle=self.generators["order"],
            augment=self.params.augment,
            augment_generator=self.generators["augmentation"],
        )

    def optimizer_steps(self, data: LocalBatches) -> Iterator[BatchResult]:
        """One optimiser step after the other, each with the next attack of the warm-up."""
        for x, y in data:
            for _ in range(self.params.replays):
                yield self.regime.step(x, y, next(self.attacks))

    def step_done(self, epoch: int, seen: BatchResult, rate: float) -> StepDone:
        """The event after a step; an accuracy that the regime does not measure is taken from the last validation."""
        last = self.rows[-1] if self.rows else None
        clean, robust = seen.clean_accuracy, seen.robust_accuracy
        return StepDone(
            epoch=epoch,
            epochs=self.params.passes,
            step=self.step,
            steps=self.steps,
            loss=seen.loss,
            clean=last.val_clean if clean is None and last is not None else clean,
            robust=last.val_robust if robust is None and last is not None else robust,
            images=(epoch - 1) * len(self.train_split) * self.params.replays + seen.images,
            images_per_second=rate,
            eta=self.meter.eta,
        )

    def diverged(self, loss: float, order_before: torch.Generator, batch: int) -> Diverged:
        """The error for a loss that is not finite; it names the images of the epoch's batch `batch` (from 1)."""
        order, size = epoch_order(len(self.train_split), order_before), self.params.batch_size
        drawn = order[(batch - 1) * size : batch * size]
        images = self.train_split.indices.cpu()[drawn.cpu()].tolist()
        return Diverged(f"the loss is {loss} at epoch {self.epochs_done + 1}, step {self.step}", tuple(images))

    def check_weights(self) -> None:
        """Raise Diverged if a weight is NaN or infinite."""
        if not all(bool(parameter.isfinite().all()) for parameter in self.model.parameters()):
            raise Diverged(f"a weight is no longer finite after epoch {self.epochs_done + 1}, step {self.step}")

    def validate(self, model: Classifier) -> Generator[ValidationStep, None, tuple[BatchResult, BatchResult]]:
        """Evaluate `model` on the selection split and on the sample of training images; returns both results.

        Every call draws the same random starts, so that epochs are compared under the same noise.
        """
        params, frozen = self.params, model.freeze()
        attack = attack_from(params.selection.adversary)
        results, done, total = [], 0, len(self.held_out) + len(self.sample)
        for split, purpose in ((self.held_out, "validation attack"), (self.sample, "training sample attack")):
            generator, seen = shared_generator(params.seed, purpose, self.device, self.shard), NO_IMAGES
            for result in judge_split(frozen, split, attack, params.batch_size, generator, self.group):
                seen, done = seen.merged_with(result), done + result.images
                yield ValidationStep(self.epochs_done + 1, params.passes, done, total, self.meter.eta)
            results.append(seen)
        return results[0], results[1]
