"""The part of a training that every rank does. Ranks other than 0 do nothing else: they write and report nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ssmlab.core.errors import Interrupted, RankError, UserError
from ssmlab.data.dataset import Dataset
from ssmlab.nets.build import build
from ssmlab.nets.classifier import Classifier
from ssmlab.params import RunParams
from ssmlab.stages.train.state_file import Identity
from ssmlab.training.distributed import Group
from ssmlab.training.events import Diverged, EpochDone, StepDone, ValidationStep
from ssmlab.training.loop import fit
from ssmlab.training.state import StateMismatch, TrainingState


def run_follower(settings: RunParams, dataset: Dataset, identity: Identity, device: torch.device, group: Group) -> None:
    """Train together with rank 0, which decides when to stop and writes all files.

    Raises:
        RankError: this rank's device is out of memory.
        UserError: the training diverged; rank 0 says so too.
        Interrupted: KeyboardInterrupt.
    """
    name = f"process {group.rank + 1} of {group.size}"
    try:
        with seeded(settings.train.seed, device):
            for event in fit_from(settings, dataset, identity, device, group):
                if not isinstance(event, EpochDone) and group.any(False):
                    return
    except KeyboardInterrupt:
        raise Interrupted(f"{name} is stopped") from None
    except Diverged as error:
        raise UserError(f"{name}: {error}") from None
    except torch.OutOfMemoryError:
        raise RankError(f"{name}: {device} is out of memory; lower train.batch_size") from None


def start_model(
    settings: RunParams,
    dataset: Dataset,
    identity: Identity,
    device: torch.device,
    group: Group,
    state: TrainingState | None = None,
) -> tuple[Classifier, TrainingState | None]:
    """The new model on `device`, and rank 0's `state`.

    Raises:
        UserError: the ranks do not have the same params, data and code.
    """
    for number, other in enumerate(group.all_gather(identity), start=1):
        if different := identity.difference(other):
            raise UserError(
                f"process {number} of {group.size} has {different}; start all with the same params, data and code"
            )
    model = build(settings.model, dataset.image_shape, dataset.classes, settings.train.seed).to(device)
    return model, group.broadcast(state)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators, from which dropout draws; after the block, their earlier state is restored."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def fit_from(
    settings: RunParams,
    dataset: Dataset,
    identity: Identity,
    device: torch.device,
    group: Group,
    state: TrainingState | None = None,
    on_refused: Callable[[StateMismatch], None] = lambda _: None,
) -> Iterator[StepDone | ValidationStep | EpochDone]:
    """Train a new model from rank 0's `state`; if its tensors do not fit, tell `on_refused` and train from the start.

    Raises:
        UserError: the ranks do not have the same params, data and code.
    """
    model, state = start_model(settings, dataset, identity, device, group, state)
    try:
        yield from fit(model, dataset, settings.train, device, state, group)
    except StateMismatch as error:
        on_refused(error)  # found before the first event, and by every rank alike
        torch.manual_seed(settings.train.seed)
        model, _ = start_model(settings, dataset, identity, device, group)
        yield from fit(model, dataset, settings.train, device, None, group)
