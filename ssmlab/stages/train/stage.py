"""The stage `train`: one run, from the prepared data to its checkpoints. Files show its progress while it works."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ssmlab.core.events import Listener, silence
from ssmlab.data.dataset import Dataset, load_dataset
from ssmlab.nets.build import sequence_length
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.stages.train.follower import run_follower
from ssmlab.stages.train.rank_zero import TrainingJob
from ssmlab.stages.train.state_file import STATE, Identity, code_version, with_saved_threads
from ssmlab.system.cores import cores
from ssmlab.system.freed_memory import keep_freed_memory
from ssmlab.training.distributed import Group, process_group
from ssmlab.training.threads import thread_count, using_threads


def train(
    params: Params,
    run: str,
    paths: Paths,
    device: str | None = None,
    on_event: Listener = silence,
    reread: Callable[[], Params] | None = None,
) -> None:
    """Train `run` of the study and publish its checkpoints, history and manifest in `paths.model(run)`.

    While it works, `paths.live(run)` holds the current checkpoints and history, log.txt, the heartbeat progress.json,
    and the state after the last complete epoch. An interrupted training continues from that state and ends with the
    same bits as if it had not been interrupted. A state of other params, data, code or device is not used, but kept
    under another name.

    When a stop is requested (`stop_request`), the training ends at the next step, publishes what it has and keeps the
    state.

    Under torchrun this is one of several processes that train together, and only rank 0 does the above.

    Args:
        device: overrides the run's own setting.
        reread: returns the present params.yaml. If params, code or data have changed since the start, nothing is
            published, because DVC hashes them after the stage and would record the result with the new hashes.

    Raises:
        UserError: unknown run or device, no prepared data, the run is being trained already, the training diverged,
            the disk or the device's memory is full, another process has ended, or params, code or data have changed.
            Earlier published files are unchanged, and the state is kept.
        Interrupted: KeyboardInterrupt, which the CLI raises on Ctrl-C and SIGTERM, or a stop was requested before there
            was anything to publish. Files as after a UserError.
    """
    keep_freed_memory()
    settings = params.run(run)
    dataset = load_dataset(paths.prepared)
    with process_group(device or settings.train.device) as (group, resolved):
        identity = run_identity(params, run, dataset, resolved, group)
        if group.rank == 0 and settings.train.threads == "auto":
            identity = with_saved_threads(paths.live(run) / STATE, identity)
        identity = identity.model_copy(update={"threads": group.broadcast(identity.threads)})
        with using_threads(identity.threads):
            if group.rank > 0:
                run_follower(settings, dataset, identity, resolved, group)
            else:
                job = TrainingJob(params, run, paths, dataset, identity, resolved, group, on_event, reread)
                job.run_rank_zero()


def run_identity(params: Params, run: str, dataset: Dataset, device: torch.device, group: Group) -> Identity:
    """What must be equal to continue from a state, and among the ranks that train together."""
    settings = params.run(run)
    images = group.shard(settings.train.batch_size).size
    activations = images * sequence_length(settings.model, dataset.image_shape) * settings.model.d_model
    return Identity(
        run=run,
        parameters=settings.fingerprint(),
        data_set=dataset.fingerprint,
        code=code_version(),
        device=device.type,
        threads=thread_count(settings.train.threads, activations, device, min(torch.get_num_threads(), cores())),
    )
