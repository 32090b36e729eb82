"""The stage `probe`: how errors grow in the layers of both checkpoints of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count
from typing import Any

import torch

from ssmlab.artifacts.checkpoint import build_from
from ssmlab.artifacts.heartbeat import PROBE_PROGRESS, HeartbeatWriter, with_heartbeat
from ssmlab.artifacts.metadata import CheckpointFile
from ssmlab.artifacts.outcome import recording_outcome
from ssmlab.artifacts.provenance import Provenance
from ssmlab.artifacts.stage_run import StageRun, prepared_input, start_stage
from ssmlab.core.blocked_paths import require_all
from ssmlab.core.events import Listener, Note, Progress, silence
from ssmlab.core.version import __version__
from ssmlab.data.dataset import Dataset, Split, load_dataset
from ssmlab.nets.device import resolve_device
from ssmlab.params import Params, ProbeParams, Which
from ssmlab.params.paths import Paths
from ssmlab.probes.probe import PARTS, ProbeImages, probe_model
from ssmlab.probes.results import CheckpointProbes, ProbeResults, SplitName, save_probes
from ssmlab.stages.trained_run import TrainedRun, first_of_same_model, read_trained_run


def probe(
    params: Params,
    run: str,
    paths: Paths,
    device: str | None = None,
    on_event: Listener = silence,
    reread: Callable[[], Params] | None = None,
) -> None:
    """Probe both checkpoints of `run` and write `paths.probe(run)`.

    From `params`, only `probe` and the study's name are read; model and training are those of the checkpoints. While
    the stage works, probe-progress.json in `paths.live(run)` is its heartbeat.

    Args:
        device: overrides `probe.device`.
        reread: returns the present params.yaml; if it has changed since the start, results are not published.

    Raises:
        UserError: unknown device, missing or damaged inputs, a full disk, or params, code or inputs have changed.
            Earlier results are untouched.
        Interrupted: Ctrl-C. Earlier results are untouched.
    """
    resolved = resolve_device(device or params.probe.device)
    require_all(paths.prepared, paths.model(run), remedy=f"run `ssmlab repro {run}`")
    dataset = load_dataset(paths.prepared)
    trained = read_trained_run(run, paths, dataset)
    started = start_stage(
        "probe",
        probe_params,
        params,
        [prepared_input(paths.prepared, dataset.fingerprint), *trained.inputs],
        [paths.probe(run)],
        root=paths.root,
        reread=reread,
        device=resolved.type,
        threads=torch.get_num_threads(),
    )
    heart = HeartbeatWriter(
        paths.live(run) / PROBE_PROGRESS, stage="probe", study=params.study, run=run, device=resolved.type
    )
    kept = f"earlier results are untouched, `ssmlab probe {run}` starts again"
    with recording_outcome(heart, silence, lambda: f"probe of run {run} stopped", lambda: kept, lambda _: None):
        probe_and_publish(params, run, paths, dataset, trained, started, resolved, with_heartbeat(heart, on_event))
        heart.close("finished")


def probe_and_publish(
    params: Params,
    run: str,
    paths: Paths,
    dataset: Dataset,
    trained: TrainedRun,
    started: StageRun,
    device: torch.device,
    on_event: Listener,
) -> None:
    """Probe the checkpoints and write the results, unless params, code or inputs have changed meanwhile."""
    settings = params.probe
    images = {split: first_images(part, settings.images, device) for split, part in splits(dataset).items()}
    found: dict[Which, CheckpointProbes] = {}
    checkpoints, parts, same = trained.checkpoints, count(), first_of_same_model(trained.checkpoints)
    for which, checkpoint in checkpoints.items():
        if same[which] == which:
            told = partial(say_part, on_event, which, parts, PARTS * len(set(same.values())))
            found[which] = probed(checkpoint, images, settings, device, told)
        else:
            about = {"sha256": checkpoint.sha256, "epoch": checkpoint.metadata.epoch}
            found[which] = found[same[which]].model_copy(update=about)
    for which, each in found.items():
        on_event(Note(f"{which}: {each.clean:.1%} clean, {each.robust:.1%} under attack of {len(images['test'][1])}"))
    results = assemble(params, run, dataset, images, trained, found, started.provenance)
    started.require_unchanged(paths.probe(run), f"ssmlab probe {run}")
    save_probes(paths.probe(run), results)
    on_event(Note(f"wrote {paths.probe(run)}"))


def say_part(on_event: Listener, which: Which, parts: Iterator[int], total: int, part: str) -> None:
    """Report that the next part of the probes of a checkpoint starts."""
    on_event(Progress(f"{which}: {part}", next(parts), total))


def probe_params(params: Params) -> dict[str, Any]:
    """The part of params.yaml that the stage reads."""
    return {"study": params.study, "probe": params.probe.plain()}


def splits(dataset: Dataset) -> dict[SplitName, Split]:
    return {"train": dataset.train, "test": dataset.test}


def first_images(split: Split, count: int, device: torch.device) -> ProbeImages:
    """The first `count` images of a split, or all of a smaller one."""
    x, y = split.tensors(min(count, len(split)))
    return x.to(device), y.to(device)


def probed(
    checkpoint: CheckpointFile,
    images: Mapping[SplitName, ProbeImages],
    settings: ProbeParams,
    device: torch.device,
    on_part: Callable[[str], None],
) -> CheckpointProbes:
    model, metadata = build_from(checkpoint, device), checkpoint.metadata
    return probe_model(model, metadata.model, images, settings, checkpoint.sha256, metadata.epoch, on_part)


def assemble(
    params: Params,
    run: str,
    dataset: Dataset,
    images: Mapping[SplitName, ProbeImages],
    trained: TrainedRun,
    found: Mapping[Which, CheckpointProbes],
    provenance: Provenance,
) -> ProbeResults:
    """The content of the results file."""
    metadata = trained.checkpoints["best"].metadata
    return ProbeResults(
        format=1,
        study=params.study,
        run=run,
        model=metadata.model.plain(),
        train=metadata.train.plain() if metadata.train else {},
        data_fingerprint=dataset.fingerprint,
        probe=params.probe,
        images={split: len(y) for split, (_, y) in images.items()},
        code_version=__version__,
        checkpoints=dict(found),
        provenance=provenance,
        manifest=trained.manifest.without_history(),
    )
