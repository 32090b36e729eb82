"""What an entry of a comparison means: a run or a group of runs of this study or another, or a checkpoint file.

Reads headers and JSON only; torch is not imported, so that `ssmlab compare` answers at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssmlab.analysis.origin import EpochsDone
from ssmlab.analysis.protocol import dotted_leaves
from ssmlab.analysis.seeds import Flags
from ssmlab.artifacts.metadata import Metadata, count_parameters, read_metadata
from ssmlab.core.errors import UserError
from ssmlab.core.files import sha256_file
from ssmlab.core.text import hint
from ssmlab.evaluation.results import AttackResults, CheckpointResults, Measure, load_results
from ssmlab.params import Which, seed_groups

if TYPE_CHECKING:
    from ssmlab.params.paths import Paths

CHECKPOINT = ".safetensors"


@dataclass(frozen=True)
class Entry:
    """Something to compare.

    Attributes:
        name: as it was asked for.
        which: the checkpoint meant: best of a run, its own of a checkpoint file.
        parameters: real numbers that the model trains.
        settings: every leaf of its `model` and `train` sections by dotted key; a group's `train.seed` is a list.
        results: what it was attacked with; None if it was not, and of a group.
        checkpoints: the attacked checkpoints that belong to it: both of a run, one of a file, none of a group.
        note: what a reader must know of its numbers (not attacked yet, trained again since); may be empty.
        members: the runs of a group, in the order of their seeds; none of a single run or file.
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
    members: tuple[Entry, ...] = ()

    @property
    def trainings(self) -> tuple[Entry, ...]:
        """The members of a group; a single run or file by itself."""
        return self.members or (self,)

    @property
    def seed(self) -> int | None:
        """The seed of a single training; None where it is unknown, as of an imported checkpoint."""
        return self.settings.get("train.seed")

    @property
    def epochs(self) -> EpochsDone | None:
        """How far a single training went, as its attack results record it; None of a group and where they do not."""
        manifest = self.results.manifest if self.results else None
        return None if manifest is None else EpochsDone.of(manifest)

    @property
    def attacked(self) -> list[AttackResults]:
        """The attack results of its trainings that have some."""
        return [each.results for each in self.trainings if each.results]

    @property
    def hashes(self) -> list[str]:
        """The SHA-256 of the checkpoint meant, of every training that was attacked."""
        return [each.checkpoints[each.which].sha256 for each in self.trainings if each.which in each.checkpoints]

    def accuracy(self, name: str, moment: Which) -> dict[int | None, Flags]:
        """The flags of a measure by seed; where best is asked of a checkpoint file, those of that file."""
        return {
            each.seed: (found.flags,)
            for each in self.trainings
            if (found := each.measure(name, each.which if moment == "best" else moment))
        }

    def gap(self, name: str) -> dict[int | None, Flags]:
        """The flags of a measure on the best and on the last checkpoint by seed, where both are there."""
        return {
            each.seed: (best.flags, last.flags)
            for each in self.trainings
            if (best := each.measure(name, "best")) and (last := each.measure(name, "last"))
        }

    def measure(self, name: str, which: Which) -> Measure | None:
        """A measure of one checkpoint of a single training; None if it was not taken."""
        checkpoint = self.checkpoints.get(which)
        return checkpoint.measures.get(name) if checkpoint else None


def resolve_entry(entry: str, paths: Paths) -> Entry:
    """What an entry's name means: a checkpoint file, a run or group of the current study, or `study/NAME` of another.

    Raises:
        UserError: there is no such file, run or group, or a file of it cannot be read.
    """
    if entry.endswith(CHECKPOINT):
        return file_entry(entry, paths)
    study, slash, run = entry.rpartition("/")
    if slash and (not study or not run or "/" in study):
        raise UserError(f"'{entry}' is not an entry: name a run, study/run, or a {CHECKPOINT} file")
    return named_entry(entry, run, dataclasses.replace(paths, study=study) if slash else paths)


def named_entry(name: str, run: str, paths: Paths) -> Entry:
    """A run, or, where no run has the name, a group of runs that differ in their seed alone."""
    found = run_entry(name, run, paths)
    if found:
        return found
    known = {other: known_sections(other, paths) for other in known_runs(paths)}
    groups = seed_groups({other: parts for other, parts in known.items() if "seed" in parts["train"]})
    if run not in groups:
        there = hint(run, [*known, *groups], "there are") if known else "there are none yet"
        raise UserError(f"no results of run '{run}' in study {paths.study} ({there}); run `ssmlab repro`")
    members = (run_entry(member, member, paths) for member in groups[run])
    return group_entry(name, run, [member for member in members if member])


def group_entry(name: str, group: str, members: Sequence[Entry]) -> Entry:
    """The runs of a group as one entry."""
    first = members[0]
    return Entry(
        name=name,
        study=first.study,
        run=group,
        which="best",
        parameters=first.parameters,
        settings={**first.settings, "train.seed": [each.seed for each in members]},
        results=None,
        checkpoints={},
        note="; ".join(each.note for each in members if each.note),
        members=tuple(members),
    )


def known_sections(run: str, paths: Paths) -> dict[str, dict[str, Any]]:
    """The plain sections `model` and `train` of a run that has attack results or a checkpoint."""
    if paths.attack(run).is_file():
        results = load_results(paths.attack(run))
        return {"model": results.model, "train": results.train}
    return sections_of(read_metadata(paths.checkpoint(run, "best")))


def run_entry(name: str, run: str, paths: Paths) -> Entry | None:
    """A run by its name: from its attack results, or while it has none from its best checkpoint; None without both."""
    if paths.attack(run).is_file():
        results = load_results(paths.attack(run))
        return Entry(
            name=name,
            study=paths.study,
            run=run,
            which="best",
            parameters=results.parameters,
            settings=dotted_settings({"model": results.model, "train": results.train}),
            results=results,
            checkpoints=results.checkpoints,
            note=stale_note(name, run, results, paths),
        )
    path = paths.checkpoint(run, "best")
    if not path.is_file():
        return None
    metadata = read_metadata(path)
    return Entry(
        name=name,
        study=paths.study,
        run=run,
        which="best",
        parameters=count_parameters(path),
        settings=dotted_settings(sections_of(metadata)),
        results=None,
        checkpoints={},
        note=f"{name}: not attacked yet: {remedy(path, metadata)}",
    )


def file_entry(name: str, paths: Paths) -> Entry:
    """A checkpoint file; its accuracies are found by its hash among the attack results of its study and run."""
    path = Path(name)
    metadata = read_metadata(path)
    attacked = dataclasses.replace(paths, study=metadata.study).attack(metadata.run)
    results = load_results(attacked) if attacked.is_file() else None
    found = results.checkpoints.get(metadata.which) if results else None
    if found is None or found.sha256 != sha256_file(path):
        results = found = None
    return Entry(
        name=name,
        study=metadata.study,
        run=metadata.run,
        which=metadata.which,
        parameters=count_parameters(path),
        settings=dotted_settings(sections_of(metadata)),
        results=results,
        checkpoints={metadata.which: found} if found else {},
        note="" if found else f"{name}: not attacked yet: {remedy(path, metadata)}",
    )


def dotted_settings(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The leaves of the sections `model` and `train` by dotted key."""
    return dict(dotted_leaves(sections))


def sections_of(metadata: Metadata) -> dict[str, dict[str, Any]]:
    """The sections of a checkpoint; how an imported one was trained is unknown, so it has that of its model alone."""
    return {"model": metadata.model.plain(), "train": metadata.train.plain() if metadata.train else {}}


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
    attacked = {path.stem for path in paths.attacks.glob("*.json")}
    return sorted(attacked | {path.parent.name for path in paths.models.glob(f"*/best{CHECKPOINT}")})
