"""The stage `attack`: the checkpoints of one run, or one imported checkpoint, under the judging attacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import torch

from ssmlab.artifacts.checkpoint import load
from ssmlab.artifacts.heartbeat import HeartbeatWriter
from ssmlab.artifacts.metadata import Metadata, count_parameters, read_metadata
from ssmlab.core.errors import Interrupted, UserError
from ssmlab.core.events import Event, Listener, Note, Progress, silence
from ssmlab.core.files import sha256_file
from ssmlab.core.version import __version__
from ssmlab.data.dataset import Dataset, load_dataset
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


def attack(params: Params, run: str, paths: Paths, device: str | None = None, listen: Listener = silence) -> None:
    """Attack both checkpoints of `run` on the first test images and write `paths.attack(run)`.

    Of `params` only `attack` and the study's name are read: what was trained is what the checkpoints
    say. While it works, `paths.live(run)/progress.json` is its heartbeat. `device` overrides
    `attack.device`.

    Raises:
        UserError: unknown device, missing or damaged inputs, an attack on more images than there are, or a full
            disk. Earlier results are untouched.
        Interrupted: Ctrl-C; likewise.
    """
    settings = params.attack
    where = resolve_device(device or settings.device)
    dataset = load_dataset(paths.prepared)
    check_attacks(settings.attacks, len(dataset.test), dataset.classes, "params.yaml: attack.attacks.")
    loaded = {which: load(paths.checkpoint(run, which), where) for which in CHECKPOINTS}
    for which, (_, about) in loaded.items():
        check_data(about, dataset, run, which)
    heart = HeartbeatWriter(
        paths.live(run) / "progress.json", stage="attack", study=params.study, run=run, device=where.type
    )
    with end_written_down(heart, run):
        models = {which: model for which, (model, _) in loaded.items()}
        evaluations = judged(models, settings, dataset, where, heard(heart, listen))
        abouts = {which: (paths.checkpoint(run, which), about) for which, (_, about) in loaded.items()}
        results = assemble(settings, run, paths.study, dataset, where.type, abouts, evaluations)
        save_results(paths.attack(run), results)


def attack_file(
    params: Params, path: Path, paths: Paths, device: str | None = None, listen: Listener = silence
) -> Path:
    """Attack an imported checkpoint as the runs of the study are attacked, so that it can be compared with them.

    Returns:
        The results file, that of run NAME of study `imported`.

    Raises:
        UserError: not an imported checkpoint, one for other images than the prepared ones, or as `attack` does.
    """
    settings = params.attack
    where = resolve_device(device or settings.device)
    about = read_metadata(path)
    if about.source is None:
        raise UserError(
            f"{path}: run {about.run} of study {about.study} is attacked by its name, with both checkpoints"
        )
    dataset = load_dataset(paths.prepared)
    check_attacks(settings.attacks, len(dataset.test), dataset.classes, "params.yaml: attack.attacks.")
    check_image_shape(about, dataset, path)
    model, _ = load(path, where)
    listen(Note(f"{path}: what it was trained on is unknown; it may have seen the test images", warning=True))
    evaluations = judged({about.which: model}, settings, dataset, where, listen)
    results = assemble(settings, about.run, about.study, dataset, where.type, {about.which: (path, about)}, evaluations)
    target = dataclasses.replace(paths, study=about.study).attack(about.run)
    save_results(target, results)
    return target


def judged(
    models: Mapping[Which, Classifier], settings: AttackParams, dataset: Dataset, device: torch.device, listen: Listener
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
        on_event=listen,
    )
    for name, evaluation in evaluations.items():
        for note in notes(name, evaluation):
            listen(note)
    return evaluations


def assemble(
    settings: AttackParams,
    run: str,
    study: str,
    dataset: Dataset,
    device: str,
    abouts: Mapping[Which, tuple[Path, Metadata]],
    evaluations: Mapping[str, Evaluation],
) -> AttackResults:
    """The content of the results file; `abouts` holds each checkpoint's file and what it says of itself."""
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
        device="cuda" if device == "cuda" else "cpu",
    )
    checkpoints = {
        which: CheckpointResults(
            **dict(evaluations[which]),
            sha256=sha256_file(path),
            epoch=about.epoch,
            val_clean=about.val_clean,
            val_robust=about.val_robust,
            selection_split=about.selection_split,
        )
        for which, (path, about) in abouts.items()
    }
    path, best = abouts["best"]
    return AttackResults(
        format=2,
        study=study,
        run=run,
        parameters=count_parameters(path),
        model=best.model.plain(),
        train=best.train.plain() if best.train else {},
        code_version=__version__,
        protocol=protocol,
        protocol_fingerprint=protocol.fingerprint(),
        checkpoints=checkpoints,
    )


def check_data(about: Metadata, dataset: Dataset, run: str, which: Which) -> None:
    """Raises UserError for a checkpoint that was trained on other data than those it would be attacked on."""
    if about.data_fingerprint is None:
        raise UserError(
            f"run {run}, checkpoint {which}: it was imported, not trained by this study; attack it as a file, or run "
            f"`ssmlab train {run}`"
        )
    if about.data_fingerprint != dataset.fingerprint:
        raise UserError(
            f"run {run}, checkpoint {which}: it was trained on other data ({about.data_name}, "
            f"{about.data_fingerprint[:12]}) than what is prepared now ({dataset.name}, {dataset.fingerprint[:12]}), "
            f"so that test images may have been training images; run `ssmlab train {run}`"
        )


def check_image_shape(about: Metadata, dataset: Dataset, path: Path) -> None:
    """Raises UserError for a checkpoint whose images or classes are of another size than the prepared ones."""
    takes, there = (about.image_shape, about.classes), (dataset.image_shape, dataset.classes)
    if takes != there:
        raise UserError(
            f"{path}: takes images {about.image_shape} of {about.classes} classes, but {dataset.name} has "
            f"{dataset.image_shape} of {dataset.classes}; change to a study of its data with `ssmlab use`"
        )


def notes(which: str, evaluation: Evaluation) -> Iterator[Note]:
    """Each accuracy and each warning in one line."""
    for name, measure in evaluation.measures.items():
        low, high = measure.interval
        yield Note(f"{which}: {name} {measure.accuracy:.1%} of {measure.n} images (95%: {low:.1%} to {high:.1%})")
    for warning in evaluation.warnings:
        yield Note(f"{which}: {warning}", warning=True)


def heard(heart: HeartbeatWriter, listen: Listener) -> Listener:
    """`listen`, with every progress carried into the heartbeat."""

    def tell(event: Event) -> None:
        if isinstance(event, Progress):
            heart.beat(
                task=event.task,
                step=event.done,
                steps=event.total,
                images_per_second=event.images_per_second,
                eta_seconds=event.eta,
            )
        listen(event)

    return tell


@contextmanager
def end_written_down(heart: HeartbeatWriter, run: str) -> Iterator[None]:
    """Write to the heartbeat how the attacks in this block end, and raise what the user should read of it."""
    try:
        yield
    except KeyboardInterrupt:
        message = f"attack on run {run} stopped"
        with suppress(UserError):
            heart.close("stopped", message)
        raise Interrupted(f"{message}; earlier results are untouched, `ssmlab attack {run}` starts again") from None
    except BaseException as error:
        with suppress(UserError):  # a full disk must not hide what went wrong
            heart.close("failed", f"{error or type(error).__name__}".splitlines()[0])
        raise
    heart.close("finished")
