"""Finds what an entry of a comparison names: a run or a group of runs of any study, or a checkpoint file.

Only headers and JSON files are read, and torch is not imported, so `ssmlab compare` answers quickly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssmlab.analysis.origin import EpochsDone
from ssmlab.analysis.seeds import Flags
from ssmlab.artifacts.metadata import Metadata, count_parameters, read_metadata
from ssmlab.core.errors import UserError
from ssmlab.core.files import sha256_file
from ssmlab.core.plain_values import dotted_leaves
from ssmlab.core.text import hint, nearest
from ssmlab.evaluation.results import AttackResults, CheckpointResults, Measure, load_results
from ssmlab.params import Which, seed_groups

if TYPE_CHECKING:
    from ssmlab.params.paths import Paths

CHECKPOINT = ".safetensors"


@dataclass(frozen=True)
class Entry:
    """Something to compare.

    Attributes:
        name: the name that the user typed.
        which: the checkpoint to compare: `best` for a run; for a checkpoint file, the one it holds.
        parameters: number of trained real parameters of the model.
        settings: every value of the sections `model` and `train` by dotted key; for a group, `train.seed` is a list.
        results: its attack results; None if it was not attacked, and for a group.
        checkpoints: its attacked checkpoints: both for a run, one for a file, none for a group.
        note: what a reader must know about its numbers (not attacked yet, or trained again since); may be empty.
        members: the runs of a group, ordered by seed; empty for a single run or file.
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
        """The members of a group; for a single run or file, the entry itself."""
        return self.members or (self,)

    @property
    def seed(self) -> int | None:
        """The seed of a single training; None if it is unknown, as for an imported checkpoint."""
        return self.settings.get("train.seed")

    @property
    def epochs(self) -> EpochsDone | None:
        """How far a single training went, as its attack results record it; None for a group or without a record."""
        manifest = self.results.manifest if self.results else None
        return None if manifest is None else EpochsDone.of(manifest)

    @property
    def attacked(self) -> list[AttackResults]:
        """The attack results of those of its trainings that were attacked."""
        return [each.results for each in self.trainings if each.results]

    @property
    def hashes(self) -> list[str]:
        """The SHA-256 of the compared checkpoint of every attacked training."""
        return [each.checkpoints[each.which].sha256 for each in self.trainings if each.which in each.checkpoints]

    def accuracy(self, name: str, moment: Which) -> dict[int | None, Flags]:
        """The flags of a measure by seed. For a checkpoint file, `best` means the checkpoint in that file."""
        return {
            each.seed: (found.flags,)
            for each in self.trainings
            if (found := each.measure(name, each.which if moment == "best" else moment))
        }

    def gap(self, name: str) -> dict[int | None, Flags]:
        """The flags of a measure on the best and on the last checkpoint, for every seed that has both."""
        return {
            each.seed: (best.flags, last.flags)
            for each in self.trainings
            if (best := each.measure(name, "best")) and (last := each.measure(name, "last"))
        }

    def measure(self, name: str, which: Which) -> Measure | None:
        """A measure of one checkpoint of a single training; None if it was not measured."""
        checkpoint = self.checkpoints.get(which)
        return checkpoint.measures.get(name) if checkpoint else None


def resolve_entry(entry: str, paths: Paths) -> Entry:
    """Find an entry by its name: a checkpoint file, a run or group of the current study, or `study/NAME`.

    Raises:
        UserError: there is no such file, run or group, or one of its files cannot be read.
    """
    if entry.endswith(CHECKPOINT):
        return file_entry(entry, paths)
    study, slash, run = entry.rpartition("/")
    if slash and (not study or not run or "/" in study):
        raise UserError(f"'{entry}' is not an entry: name a run, study/run, or a {CHECKPOINT} file")
    return named_entry(entry, run, dataclasses.replace(paths, study=study) if slash else paths)


def named_entry(name: str, run: str, paths: Paths) -> Entry:
    """The run with this name, or else the group of runs with this name that differ only in their seed."""
    found = run_entry(name, run, paths)
    if found:
        return found
    known = {other: known_sections(other, paths) for other in known_runs(paths)}
    groups = seed_groups({other: parts for other, parts in known.items() if "seed" in parts["train"]})
    if run not in groups:
        there = hint(run, [*known, *groups], "there are") if known else other_study(paths)
        raise UserError(f"no results of run '{run}' in study {paths.study} ({there}); run `ssmlab repro`")
    members = (run_entry(member, member, paths) for member in groups[run])
    return group_entry(name, run, [member for member in members if member])


def other_study(paths: Paths) -> str:
    """Why a study has no results: perhaps its name is wrong, and another one has some."""
    results = paths.results.parent
    there = sorted(path.parent.name for path in results.glob("*/attack") if any(path.glob("*.json")))
    near = nearest(paths.study, (study for study in there if study != paths.study))
    return f"did you mean study '{near}'?" if near else "there are none yet"


def group_entry(name: str, group: str, members: Sequence[Entry]) -> Entry:
    """One entry for all runs of a group."""
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
    """The sections `model` and `train` of a run that has attack results or a checkpoint, as plain mappings."""
    if paths.attack(run).is_file():
        results = load_results(paths.attack(run))
        return {"model": results.model, "train": results.train}
    return sections_of(read_metadata(paths.checkpoint(run, "best")))


def run_entry(name: str, run: str, paths: Paths) -> Entry | None:
    """A run, read from its attack results, or else from its best checkpoint; None if it has neither."""
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
        note=f"{name}: not attacked yet; {remedy(path, metadata)}",
    )


def file_entry(name: str, paths: Paths) -> Entry:
    """A checkpoint file. Its accuracies are taken from the attack results of its run if the hashes are equal."""
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
        note="" if found else f"{name}: not attacked yet; {remedy(path, metadata)}",
    )


def dotted_settings(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The values of the sections `model` and `train` by dotted key; an unknown training has none."""
    return dict(dotted_leaves({name: section for name, section in sections.items() if section}))


def sections_of(metadata: Metadata) -> dict[str, dict[str, Any]]:
    """The sections of a checkpoint; `train` is empty for an imported one, whose training is unknown."""
    return {"model": metadata.model.plain(), "train": metadata.train.plain() if metadata.train else {}}


def remedy(path: Path, metadata: Metadata) -> str:
    """The command that attacks a checkpoint: a run is given by its name, an imported file by its path."""
    return f"run `ssmlab attack {path if metadata.source else metadata.run}`"


def stale_note(name: str, run: str, results: AttackResults, paths: Paths) -> str:
    """A warning if a checkpoint on disk is not the one that was attacked; empty otherwise."""
    for which, checkpoint in results.checkpoints.items():
        path = paths.checkpoint(run, which)
        if path.is_file() and sha256_file(path) != checkpoint.sha256:
            return f"{name}: trained again after it was attacked; these numbers are old: run `ssmlab attack {run}`"
    return ""


def known_runs(paths: Paths) -> list[str]:
    """Names of the runs of a study that have attack results or a checkpoint."""
    attacked = {path.stem for path in paths.attacks.glob("*.json")}
    return sorted(attacked | {path.parent.name for path in paths.models.glob(f"*/best{CHECKPOINT}")})
