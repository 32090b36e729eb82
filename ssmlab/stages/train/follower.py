"""What the processes of one training do alike; and all that those do which neither write nor tell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ssmlab.core.errors import Interrupted, LoneError, UserError
from ssmlab.data.dataset import Dataset
from ssmlab.nets.build import build
from ssmlab.nets.classifier import Classifier
from ssmlab.params import RunParams
from ssmlab.stages.train.state_file import Identity
from ssmlab.training.distributed import Group
from ssmlab.training.events import Diverged, EpochDone
from ssmlab.training.loop import fit
from ssmlab.training.state import TrainingState


def assist(settings: RunParams, dataset: Dataset, about: Identity, where: torch.device, group: Group) -> None:
    """Train with the first process of `group`, which tells when to stop, and leave all files to it.

    Raises:
        LoneError: this process's device is out of memory.
        UserError: what the first process says too: the training diverged.
        Interrupted: KeyboardInterrupt.
    """
    here = f"process {group.rank + 1} of {group.size}"
    try:
        with seeded(settings.train.seed, where):
            model, state = beginning(settings, dataset, about, where, group)
            for event in fit(model, dataset, settings.train, where, state, group):
                if not isinstance(event, EpochDone) and group.any(False):
                    return
    except KeyboardInterrupt:
        raise Interrupted(f"{here} is stopped") from None
    except Diverged as error:
        raise UserError(f"{here}: {error}") from None
    except torch.OutOfMemoryError:
        raise LoneError(f"{here}: {where} is out of memory; lower train.batch_size") from None


def beginning(
    settings: RunParams,
    dataset: Dataset,
    about: Identity,
    where: torch.device,
    group: Group,
    state: TrainingState | None = None,
) -> tuple[Classifier, TrainingState | None]:
    """The new model on `where`, and the first process's `state`; raises UserError where the processes differ."""
    for number, other in enumerate(group.all_gather(about), start=1):
        if different := about.difference(other):
            raise UserError(f"process {number} of {group.size} has {different}; give all the same params, data, code")
    model = build(settings.model, dataset.image_shape, dataset.classes, settings.train.seed).to(where)
    return model, group.broadcast(state)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Within this block torch's global generators, which dropout draws from, start at `seed`; then as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
