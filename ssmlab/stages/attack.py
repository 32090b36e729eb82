"""The stage `attack`: the checkpoints of one run, or one imported checkpoint, under the judging attacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ssmlab.artifacts.checkpoint import build_from
from ssmlab.artifacts.heartbeat import HeartbeatWriter
from ssmlab.artifacts.manifest import Manifest, read_published
from ssmlab.artifacts.metadata import IMPORTED, CheckpointFile, Metadata, parse_checkpoint, read_checkpoint
from ssmlab.artifacts.outcome import recording_outcome
from ssmlab.artifacts.provenance import Provenance, StageRun, start_stage
from ssmlab.core.errors import UserError
from ssmlab.core.events import Event, Listener, Note, Progress, silence
from ssmlab.core.files import sha256_file, sweep_leftovers
from ssmlab.core.version import __version__
from ssmlab.data.dataset import Dataset, load_dataset
from ssmlab.data.header import prepared_fingerprint
from ssmlab.data.pixels import to_unit
from ssmlab.evaluation.evaluate import evaluate_models
from ssmlab.evaluation.plan import check_attacks
from ssmlab.evaluation.results import (
    AttackResults,
    CheckpointResults,
    Data,
    Evaluation,
    Protocol,
    radius,
    save_results,
)
from ssmlab.nets.classifier import Classifier
from ssmlab.nets.device import resolve_device
from ssmlab.params import AttackParams, AttackSpec, Params, Which
from ssmlab.params.paths import Paths

CHECKPOINTS: tuple[Which, ...] = ("best", "last")


def attack(
    params: Params,
    run: str,
    paths: Paths,
    device: str | None = None,
    on_event: Listener = silence,
    reread: Callable[[], Params] | None = None,
) -> None:
    """Attack both checkpoints of `run` on the first test images and write `paths.attack(run)`.

    Of `params` only `attack` and the study's name are read: what was trained is what the checkpoints say. Each is read
    once, so that what the results name is what was attacked. While it works, `paths.live(run)/progress.json` is its
    heartbeat.

    Args:
        device: overrides `attack.device`.
        reread: gives params.yaml as it is now; results of what has changed since the start are not published.

    Raises:
        UserError: unknown device, missing or damaged inputs, an attack on more images than there are, a full disk, or
            params, code or inputs have changed. Earlier results are untouched.
        Interrupted: Ctrl-C; likewise.
    """
    settings = params.attack
    resolved = resolve_device(device or settings.device)
    dataset = load_dataset(paths.prepared)
    check_attacks(settings.attacks, len(dataset.test), dataset.classes, "params.yaml: attack.attacks.")
    manifest, contents = read_published(paths.model(run))
    checkpoints: dict[Which, CheckpointFile] = {}
    for which in CHECKPOINTS:
        path = paths.checkpoint(run, which)
        checkpoints[which] = parse_checkpoint(contents[path.name], str(path))
        check_data(checkpoints[which].metadata, dataset, run, which)
    models = {which: build_from(checkpoint, resolved) for which, checkpoint in checkpoints.items()}
    files = {paths.checkpoint(run, which): each.sha256 for which, each in checkpoints.items()}
    started = start(params, paths, dataset, files, resolved, reread)
    sweep_leftovers(paths.attack(run))
    heart = HeartbeatWriter(
        paths.live(run) / "progress.json", stage="attack", study=params.study, run=run, device=resolved.type
    )
    again = f"earlier results are untouched, `ssmlab attack {run}` starts again"
    with recording_outcome(heart, silence, lambda: f"attack on run {run} stopped", lambda: again, lambda _: None):
        evaluations = judged(models, settings, dataset, resolved, with_heartbeat(heart, on_event))
        results = assemble(settings, run, paths.study, dataset, checkpoints, evaluations, started.provenance, manifest)
        publish(results, paths.attack(run), started, paths.live(run) / "unpublished-attack.json", run)
        heart.close("finished")


def attack_file(
    params: Params,
    path: Path,
    paths: Paths,
    device: str | None = None,
    on_event: Listener = silence,
    reread: Callable[[], Params] | None = None,
) -> Path:
    """Attack an imported checkpoint as the runs of the study are attacked, so that it can be compared with them.

    Returns:
        The results file, results/imported/attack/NAME.json with the checkpoint's own name: no trained run's results
        lie there, because no study can be called `imported`.

    Raises:
        UserError: not an imported checkpoint, one for other images than the prepared ones, or as `attack` does.
    """
    settings = params.attack
    resolved = resolve_device(device or settings.device)
    checkpoint = read_checkpoint(path)
    metadata = checkpoint.metadata
    if metadata.source is None:
        raise UserError(
            f"{path}: run {metadata.run} of study {metadata.study} is attacked by its name, with both checkpoints"
        )
    dataset = load_dataset(paths.prepared)
    check_attacks(settings.attacks, len(dataset.test), dataset.classes, "params.yaml: attack.attacks.")
    check_image_shape(metadata, dataset, path)
    model = build_from(checkpoint, resolved)
    on_event(Note(f"{path}: what it was trained on is unknown; it may have seen the test images", warning=True))
    started = start(params, paths, dataset, {path: checkpoint.sha256}, resolved, reread)
    target = dataclasses.replace(paths, study=IMPORTED).attack(metadata.run)
    sweep_leftovers(target)
    evaluations = judged({metadata.which: model}, settings, dataset, resolved, on_event)
    files: Mapping[Which, CheckpointFile] = {metadata.which: checkpoint}
    results = assemble(settings, metadata.run, IMPORTED, dataset, files, evaluations, started.provenance, None)
    aside = dataclasses.replace(paths, study=IMPORTED).live(metadata.run) / "unpublished-attack.json"
    publish(results, target, started, aside, str(path))
    return target


def start(
    params: Params,
    paths: Paths,
    dataset: Dataset,
    files: Mapping[Path, str],
    device: torch.device,
    reread: Callable[[], Params] | None,
) -> StageRun:
    """Record what the attacks are started from; `files` are the checkpoints with their hashes."""
    prepared = paths.prepared
    again: dict[Path, Callable[[], str]] = {file: partial(sha256_file, file) for file in files}
    again[prepared] = partial(prepared_fingerprint, prepared)
    return start_stage(
        "attack",
        attack_params(params),
        {name_in(paths.root, file): value for file, value in {prepared: dataset.fingerprint, **files}.items()},
        root=paths.root,
        asked_again=None if reread is None else lambda: attack_params(reread()),
        inputs_again={name_in(paths.root, file): each for file, each in again.items()},
        device=device.type,
        threads=torch.get_num_threads(),
    )


def attack_params(params: Params) -> dict[str, Any]:
    """What the stage reads of params.yaml."""
    return {"study": params.study, "attack": params.attack.plain()}


def name_in(root: Path, file: Path) -> str:
    """A file's path in the project; its name alone if it lies elsewhere, since results name no folder of a machine."""
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name


def publish(results: AttackResults, target: Path, started: StageRun, aside: Path, name: str) -> None:
    """Write the results to `target`; to `aside`, with a UserError, if what they were made of has changed."""
    changed = started.changed()
    save_results(aside if changed else target, results)
    if changed:
        raise UserError(
            f"{changed} has changed since the attack on {name} started, so its results are not published; they are "
            f"kept as {aside}, and `ssmlab attack {name}` attacks what there is now"
        )


def judged(
    models: Mapping[Which, Classifier],
    settings: AttackParams,
    dataset: Dataset,
    device: torch.device,
    on_event: Listener,
) -> Mapping[str, Evaluation]:
    """Every checkpoint under the attacks that are asked of it, with a note for each accuracy and warning."""
    plan: dict[str, dict[str, AttackSpec]] = {
        which: {name: spec for name, spec in settings.attacks.items() if which in spec.checkpoints} for which in models
    }
    evaluations = evaluate_models(
        {str(which): model for which, model in models.items()},
        to_unit(dataset.test.images),
        dataset.test.labels,
        plan,
        settings.eps,
        batch_size=settings.batch_size,
        seed=settings.seed,
        device=device,
        on_event=on_event,
    )
    for name, evaluation in evaluations.items():
        for note in notes(name, evaluation):
            on_event(note)
    return evaluations


def assemble(
    settings: AttackParams,
    run: str,
    study: str,
    dataset: Dataset,
    checkpoints: Mapping[Which, CheckpointFile],
    evaluations: Mapping[str, Evaluation],
    provenance: Provenance,
    manifest: Manifest | None,
) -> AttackResults:
    """The content of the results file; `manifest` is that of the run's folder, None for an imported checkpoint."""
    n = len(dataset.test)
    protocol = Protocol(
        data=Data(
            name=dataset.name,
            fingerprint=dataset.fingerprint,
            split="test",
            n=n,
            indices_hash=dataset.test.indices_hash(n),
            train=len(dataset.train),
            validation=len(dataset.validation),
        ),
        norm="linf",
        eps=radius(settings.eps),
        batch_size=settings.batch_size,
        seed=settings.seed,
        attacks=settings.attacks,
        torchattacks=version("torchattacks"),
        device="cuda" if provenance.device == "cuda" else "cpu",
    )
    found = {
        which: CheckpointResults(
            **dict(evaluations[which]),
            sha256=checkpoint.sha256,
            epoch=checkpoint.metadata.epoch,
            val_clean=checkpoint.metadata.val_clean,
            val_robust=checkpoint.metadata.val_robust,
            selection_split=checkpoint.metadata.selection_split,
        )
        for which, checkpoint in checkpoints.items()
    }
    best = checkpoints["best"].metadata
    return AttackResults(
        format=2,
        study=study,
        run=run,
        parameters=checkpoints["best"].parameters,
        model=best.model.plain(),
        train=best.train.plain() if best.train else {},
        code_version=__version__,
        protocol=protocol,
        protocol_fingerprint=protocol.fingerprint(),
        checkpoints=found,
        provenance=provenance,
        manifest=manifest.without_history() if manifest else None,
    )


def check_data(metadata: Metadata, dataset: Dataset, run: str, which: Which) -> None:
    """Raises UserError for a checkpoint that was trained on other data than those it would be attacked on."""
    if metadata.data_fingerprint is None:
        raise UserError(
            f"run {run}, checkpoint {which}: it was imported, not trained by this study; attack it as a file, or run "
            f"`ssmlab train {run}`"
        )
    if metadata.data_fingerprint != dataset.fingerprint:
        raise UserError(
            f"run {run}, checkpoint {which}: it was trained on other data ({metadata.data_name}, "
            f"{metadata.data_fingerprint[:12]}) than what is prepared now ({dataset.name}, "
            f"{dataset.fingerprint[:12]}), "
            f"so that test images may have been training images; run `ssmlab train {run}`"
        )


def check_image_shape(metadata: Metadata, dataset: Dataset, path: Path) -> None:
    """Raises UserError for a checkpoint whose images or classes are of another size than the prepared ones."""
    takes, there = (metadata.image_shape, metadata.classes), (dataset.image_shape, dataset.classes)
    if takes != there:
        raise UserError(
            f"{path}: takes images {metadata.image_shape} of {metadata.classes} classes, but {dataset.name} has "
            f"{dataset.image_shape} of {dataset.classes}; change to a study of its data with `ssmlab use`"
        )


def notes(which: str, evaluation: Evaluation) -> Iterator[Note]:
    """Each accuracy and each warning in one line."""
    for name, measure in evaluation.measures.items():
        low, high = measure.interval
        yield Note(f"{which}: {name} {measure.accuracy:.1%} of {measure.n} images (95%: {low:.1%} to {high:.1%})")
    for warning in evaluation.warnings:
        yield Note(f"{which}: {warning}", warning=True)


def with_heartbeat(heart: HeartbeatWriter, on_event: Listener) -> Listener:
    """`on_event`, with every progress carried into the heartbeat."""

    def beat_and_pass_on(event: Event) -> None:
        if isinstance(event, Progress):
            heart.beat(
                task=event.task,
                step=event.done,
                steps=event.total,
                images_per_second=event.images_per_second,
                eta_seconds=event.eta,
            )
        on_event(event)

    return beat_and_pass_on
