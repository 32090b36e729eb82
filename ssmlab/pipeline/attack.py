"""The stage `attack`: the checkpoints of one run under the judging attacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version

from ssmlab.checkpoint import load
from ssmlab.data.batches import to_unit
from ssmlab.data.prepared import Dataset, load_dataset
from ssmlab.errors import Interrupted, UserError
from ssmlab.evaluation.evaluate import evaluate_models
from ssmlab.evaluation.results import (
    AttackResults,
    CheckpointResults,
    Data,
    Evaluation,
    Protocol,
    radius,
)
from ssmlab.events import Event, Listener, Note, Progress, silence
from ssmlab.files import readable_json, sha256_file, write_atomic
from ssmlab.heartbeat import HeartbeatWriter
from ssmlab.metadata import Metadata, count_parameters
from ssmlab.params import AttackParams, AttackSpec, Params, Which
from ssmlab.pipeline.paths import Paths
from ssmlab.training.device import resolve_device
from ssmlab.version import __version__

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
    check_sizes(settings, len(dataset.test))
    loaded = {which: load(paths.checkpoint(run, which), where) for which in CHECKPOINTS}
    for which, (_, about) in loaded.items():
        check_data(about, dataset, run, which)
    plan: dict[str, dict[str, AttackSpec]] = {
        which: {name: spec for name, spec in settings.attacks.items() if which in spec.checkpoints}
        for which in CHECKPOINTS
    }

    heart = HeartbeatWriter(
        paths.live(run) / "progress.json", stage="attack", study=params.study, run=run, device=where.type
    )
    with end_written_down(heart, run):
        evaluations = evaluate_models(
            {which: model for which, (model, _) in loaded.items()},
            to_unit(dataset.test.images),
            dataset.test.labels,
            plan,
            settings.eps,
            batch_size=settings.batch_size,
            seed=settings.seed,
            device=where,
            listen=heard(heart, listen),
        )
        for name, evaluation in evaluations.items():
            for note in notes(name, evaluation):
                listen(note)
        abouts = {which: about for which, (_, about) in loaded.items()}
        results = assemble(settings, run, paths, dataset, where.type, abouts, evaluations)
        write_atomic(paths.attack(run), readable_json(results.plain()))


def assemble(
    settings: AttackParams,
    run: str,
    paths: Paths,
    dataset: Dataset,
    device: str,
    abouts: Mapping[Which, Metadata],
    evaluations: Mapping[str, Evaluation],
) -> AttackResults:
    """The content of the results file."""
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
            sha256=sha256_file(paths.checkpoint(run, which)),
            epoch=about.epoch,
            val_clean=about.val_clean,
            val_robust=about.val_robust,
            selection_split=about.selection_split,
        )
        for which, about in abouts.items()
    }
    best = abouts["best"]
    return AttackResults(
        format=1,
        study=paths.study,
        run=run,
        parameters=count_parameters(paths.checkpoint(run, "best")),
        model=best.model.plain(),
        train=best.train.plain(),
        code_version=__version__,
        protocol=protocol,
        protocol_fingerprint=protocol.fingerprint(),
        checkpoints=checkpoints,
    )


def check_sizes(settings: AttackParams, n: int) -> None:
    """Raises UserError for an attack on more images than the `n` of the test split."""
    for name, spec in settings.attacks.items():
        if spec.images != "all" and spec.images > n:
            raise UserError(
                f"params.yaml: attack.attacks.{name}.images: {spec.images} images are asked for, and the test split "
                f"has {n}; ask for fewer, or for `all`"
            )


def check_data(about: Metadata, dataset: Dataset, run: str, which: Which) -> None:
    """Raises UserError for a checkpoint that was trained on other data than those it would be attacked on."""
    if about.data_fingerprint != dataset.fingerprint:
        raise UserError(
            f"run {run}, checkpoint {which}: it was trained on other data ({about.data_name}, "
            f"{about.data_fingerprint[:12]}) than what is prepared now ({dataset.name}, {dataset.fingerprint[:12]}), "
            f"so that test images may have been training images; run `ssmlab train {run}`"
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
