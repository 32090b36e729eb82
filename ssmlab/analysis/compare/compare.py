"""Runs, groups of runs and checkpoints side by side: what differs in their settings, and what that did to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ssmlab.analysis.compare.deltas import Cell, cells
from ssmlab.analysis.compare.entries import Subject, resolve
from ssmlab.analysis.format import level
from ssmlab.analysis.protocol import by_strength, spell_difference
from ssmlab.core.errors import ProtocolMismatch, UserError
from ssmlab.core.text import listed
from ssmlab.params import Which

if TYPE_CHECKING:
    from ssmlab.params.paths import Paths

Moment = Literal["best", "last", "gap"]


@dataclass(frozen=True)
class Setting:
    """One parameter of all subjects by dotted key; None where a subject has no such parameter."""

    key: str
    values: tuple[Any, ...]

    @property
    def changed(self) -> bool:
        """Whether the subjects differ in it."""
        return any(value != self.values[0] for value in self.values)


@dataclass(frozen=True)
class Line:
    """A measure of all subjects: accuracy at `best` or `last`, or its fall between them (`gap`: less is better)."""

    measure: str
    moment: Moment
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Comparison:
    """Subjects side by side; the first one is the reference of every delta.

    Attributes:
        settings: all parameters; those with `changed` are what most readers want.
        mismatch: a line that every rendering shows when the protocols differ; None when they do not.
        confidence: the level of every interval.
    """

    subjects: tuple[Subject, ...]
    settings: tuple[Setting, ...]
    lines: tuple[Line, ...]
    mismatch: str | None
    confidence: float

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of single subjects, and of what their seeds allow to say."""
        return (
            *(subject.note for subject in self.subjects if subject.note),
            *seed_notes(self.subjects, self.confidence),
        )


def compare(subjects: Sequence[str], paths: Paths, force: bool = False) -> Comparison:
    """Put runs, groups of runs that differ in their seed alone, or checkpoints side by side.

    Args:
        subjects: names of runs or groups of the current study, `study/NAME`, or checkpoint files; at least two.
        paths: the current study.
        force: compare also what was attacked under different protocols; the comparison is then marked.

    Raises:
        UserError: a subject is unknown, or there are fewer than two.
        ProtocolMismatch: two subjects were attacked under different protocols, and `force` is off.
    """
    if len(subjects) < 2:
        raise UserError("compare needs two subjects or more, for example `ssmlab compare ads attention`")
    return side_by_side(tuple(resolve(subject, paths) for subject in subjects), force)


def side_by_side(subjects: tuple[Subject, ...], force: bool = False, confidence: float = 0.95) -> Comparison:
    """The comparison of subjects that have been resolved; raises ProtocolMismatch as `compare` does."""
    mismatch = find_mismatch(subjects)
    if mismatch and not force:
        raise ProtocolMismatch(f"{mismatch}; attack them alike, or compare anyway with --force")
    keys = sorted({key for subject in subjects for key in subject.settings})
    return Comparison(
        subjects=subjects,
        settings=tuple(Setting(key, tuple(subject.settings.get(key) for subject in subjects)) for key in keys),
        lines=tuple(line for line in measure_lines(subjects, confidence) if any(cell.n for cell in line.cells)),
        mismatch=f"not comparable: {mismatch}" if mismatch else None,
        confidence=confidence,
    )


def find_mismatch(subjects: Sequence[Subject]) -> str | None:
    """What differs between the protocols of the first two trainings that do not share one; None if all do."""
    attacked = [(each.name, each.results) for subject in subjects for each in subject.trainings if each.results]
    for name, results in attacked[1:]:
        first, reference = attacked[0]
        if results.protocol_fingerprint != reference.protocol_fingerprint:
            return f"{first} and {name} were attacked under different protocols: {spell_difference(reference, results)}"
    return None


def seed_notes(subjects: Sequence[Subject], confidence: float) -> Iterator[str]:
    """What standard deviations and deltas of groups are, and which cannot be judged; nothing without groups."""
    if not any(subject.members for subject in subjects):
        return
    yield (
        "±: the standard deviation over seeds. "
        f"Deltas of groups are judged by {level(confidence)} intervals over seeds and images."
    )
    first, *others = subjects
    for other in others:
        if not (first.members or other.members):
            yield f"{first.name} and {other.name} are single trainings, judged over images alone."
            continue
        own, common = seeds_of(other), sorted(seeds_of(first) & seeds_of(other))
        if len(common) < 2:
            yield (
                f"{first.name} ({counted(first)}) and {other.name} ({counted(other)}) have fewer than two seeds in "
                "common: what other seeds would change is not known, and their deltas are not judged."
            )
        elif seeds_of(first) != own:
            yield f"{first.name} and {other.name}: deltas are over their common seeds {listed(common)} alone."


def seeds_of(subject: Subject) -> set[int]:
    """The seeds of a subject's trainings, as far as they are known."""
    return {each.seed for each in subject.trainings if each.seed is not None}


def counted(subject: Subject) -> str:
    """`3 seeds`, `a single training`."""
    return f"{len(subject.members)} seeds" if subject.members else "a single training"


def measure_lines(subjects: Sequence[Subject], confidence: float) -> list[Line]:
    """Every accuracy at best, every accuracy at last, then the RO gap of every attack."""
    attacks = {
        name: spec
        for subject in subjects
        for results in subject.attacked
        for name, spec in results.protocol.attacks.items()
    }
    ordered = by_strength(attacks)
    moments: tuple[Which, ...] = ("best", "last")
    accuracies = [
        Line(name, moment, cells(subjects, [subject.accuracy(name, moment) for subject in subjects], confidence))
        for moment in moments
        for name in ("clean", *ordered)
    ]
    gaps = [
        Line(name, "gap", cells(subjects, [subject.gap(name) for subject in subjects], confidence)) for name in ordered
    ]
    return accuracies + gaps
