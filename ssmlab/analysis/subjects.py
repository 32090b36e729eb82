"""What a subject of a comparison means: a run of this study, a run of another, or a checkpoint file.

Reads headers and JSON only; torch is not imported, so that `ssmlab compare` answers at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssmlab.analysis.protocol import flatten
from ssmlab.errors import UserError
from ssmlab.evaluation.results import AttackResults, CheckpointResults, Measure, load_results
from ssmlab.files import sha256_file
from ssmlab.metadata import Metadata, count_parameters, read_metadata
from ssmlab.params import Which

if TYPE_CHECKING:
    from ssmlab.pipeline.paths import Paths

CHECKPOINT = ".safetensors"


@dataclass(frozen=True)
class Subject:
    """Something to compare.

    Attributes:
        name: as it was asked for.
        which: the checkpoint meant: best of a run, its own of a checkpoint file.
        parameters: real numbers that the model trains.
        settings: every leaf of its `model` and `train` sections by dotted key.
        results: what it was attacked with; None if it was not.
        checkpoints: the attacked checkpoints that belong to it: both of a run, one of a checkpoint file.
        note: what a reader must know of its numbers (not attacked yet, trained again since); may be empty.
    """

    name: str
    study: str
    run: str
    which: Which
    parameters: int
    settings: Mapping[str, Any]
    results: AttackResults | None
    checkpoints: Mapping[Which, CheckpointResults]
    note: str = ""

    def measure(self, name: str, moment: Which) -> Measure | None:
        """A measure of a run's `moment`; where best is asked of a checkpoint file, of that file. None if missing."""
        checkpoint = self.checkpoints.get(self.which if moment == "best" else moment)
        return checkpoint.measures.get(name) if checkpoint else None

    def gap(self, name: str) -> tuple[Measure, Measure] | None:
        """A measure of the best and of the last checkpoint, where both are there."""
        best, last = (
            checkpoint.measures.get(name) if (checkpoint := self.checkpoints.get(which)) else None
            for which in ("best", "last")
        )
        return (best, last) if best and last else None


def resolve(subject: str, paths: Paths) -> Subject:
    """What a subject's name means: a checkpoint file, a run of the current study, or `study/run`.

    Raises:
        UserError: there is no such file, no such run, or a file of it cannot be read.
    """
    if subject.endswith(CHECKPOINT):
        return resolve_file(subject, paths)
    study, slash, run = subject.rpartition("/")
    if slash and (not study or not run or "/" in study):
        raise UserError(f"'{subject}' is no subject: name a run, study/run, or a {CHECKPOINT} file")
    return resolve_run(subject, run, dataclasses.replace(paths, study=study) if slash else paths)


def resolve_run(name: str, run: str, paths: Paths) -> Subject:
    """A run by its name: from its attack results, or from its best checkpoint while it has none."""
    if paths.attack(run).is_file():
        results = load_results(paths.attack(run))
        return Subject(
            name=name,
            study=paths.study,
            run=run,
            which="best",
            parameters=results.parameters,
            settings=settings(results.model, results.train),
            results=results,
            checkpoints=results.checkpoints,
            note=stale_note(name, run, results, paths),
        )
    path = paths.checkpoint(run, "best")
    if not path.is_file():
        known = ", ".join(known_runs(paths)) or "none yet"
        raise UserError(f"no results of run '{run}' in study {paths.study} (there are: {known}); run `ssmlab repro`")
    metadata = read_metadata(path)
    return Subject(
        name=name,
        study=paths.study,
        run=run,
        which="best",
        parameters=count_parameters(path),
        settings=settings_of(metadata),
        results=None,
        checkpoints={},
        note=f"{name}: not attacked yet: {remedy(path, metadata)}",
    )


def resolve_file(name: str, paths: Paths) -> Subject:
    """A checkpoint file; its accuracies are found by its hash among the attack results of its study and run."""
    path = Path(name)
    metadata = read_metadata(path)
    attacked = dataclasses.replace(paths, study=metadata.study).attack(metadata.run)
    results = load_results(attacked) if attacked.is_file() else None
    found = results.checkpoints.get(metadata.which) if results else None
    if found is None or found.sha256 != sha256_file(path):
        results = found = None
    return Subject(
        name=name,
        study=metadata.study,
        run=metadata.run,
        which=metadata.which,
        parameters=count_parameters(path),
        settings=settings_of(metadata),
        results=results,
        checkpoints={metadata.which: found} if found else {},
        note="" if found else f"{name}: not attacked yet: {remedy(path, metadata)}",
    )


def settings(model: Mapping[str, Any], train: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of both sections by dotted key."""
    return dict(flatten({"model": model, "train": train}))


def settings_of(metadata: Metadata) -> dict[str, Any]:
    """The settings of a checkpoint; how an imported one was trained is unknown, so it has those of its model alone."""
    return settings(metadata.model.plain(), metadata.train.plain() if metadata.train else {})


def remedy(path: Path, metadata: Metadata) -> str:
    """How to get the numbers of a checkpoint: a run is attacked by its name, an imported file by its path."""
    return f"run `ssmlab attack {path if metadata.source else metadata.run}`"


def stale_note(name: str, run: str, results: AttackResults, paths: Paths) -> str:
    """A warning where a checkpoint on disk is another one than was attacked."""
    for which, checkpoint in results.checkpoints.items():
        path = paths.checkpoint(run, which)
        if path.is_file() and sha256_file(path) != checkpoint.sha256:
            return f"{name}: trained again since it was attacked, these are the old numbers: run `ssmlab attack {run}`"
    return ""


def known_runs(paths: Paths) -> list[str]:
    """Names of the runs of a study that have attack results or a checkpoint."""
    attacked = {path.stem for path in paths.attack("any").parent.glob("*.json")}
    return sorted(attacked | {path.parent.name for path in paths.model("any").parent.glob(f"*/best{CHECKPOINT}")})
