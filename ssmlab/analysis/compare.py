"""Runs and checkpoints side by side: what differs in their settings, and what that did to their accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ssmlab.analysis.intervals import Difference, paired, paired_gaps
from ssmlab.analysis.protocol import spell_difference
from ssmlab.analysis.subjects import Subject, resolve
from ssmlab.analysis.summary import by_strength
from ssmlab.errors import ProtocolMismatch, UserError
from ssmlab.evaluation.results import wilson
from ssmlab.params import Which

if TYPE_CHECKING:
    from ssmlab.pipeline.paths import Paths

Word = Literal["", "same", "within noise", "better", "worse"]
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
class Cell:
    """A number of one subject beside the reference's.

    Attributes:
        value: fraction; None if it was not measured. n: images. interval: of the value, if it is an accuracy.
        delta: value - the reference's value; None for the reference itself and where either is missing.
        difference: `delta` with its paired interval, where both were measured under one protocol.
        word: what the delta means.
    """

    value: float | None = None
    n: int | None = None
    interval: tuple[float, float] | None = None
    delta: float | None = None
    difference: Difference | None = None
    word: Word = ""


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
        """What a reader must know of single subjects."""
        return tuple(subject.note for subject in self.subjects if subject.note)


def compare(subjects: Sequence[str], paths: Paths, force: bool = False) -> Comparison:
    """Put runs or checkpoints side by side.

    Args:
        subjects: run names of the current study, `study/run`, or checkpoint files; at least two.
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
    """What differs between the protocols of the first two subjects that do not share one; None if all do."""
    attacked = [(subject.name, subject.results) for subject in subjects if subject.results]
    for name, results in attacked[1:]:
        first, reference = attacked[0]
        if results.protocol_fingerprint != reference.protocol_fingerprint:
            return f"{first} and {name} were attacked under different protocols: {spell_difference(reference, results)}"
    return None


def measure_lines(subjects: Sequence[Subject], confidence: float) -> list[Line]:
    """Every accuracy at best, every accuracy at last, then the RO gap of every attack."""
    attacks = {
        name: spec for subject in subjects if subject.results for name, spec in subject.results.protocol.attacks.items()
    }
    ordered = by_strength(attacks)
    moments: tuple[Which, ...] = ("best", "last")
    accuracies = [
        Line(name, moment, accuracy_cells(subjects, name, moment, confidence))
        for moment in moments
        for name in ("clean", *ordered)
    ]
    return accuracies + [Line(name, "gap", gap_cells(subjects, name, confidence)) for name in ordered]


def accuracy_cells(subjects: Sequence[Subject], name: str, moment: Which, confidence: float) -> tuple[Cell, ...]:
    """One accuracy of every subject, beside the first one's."""
    found = [subject.measure(name, moment) for subject in subjects]
    cells = []
    for i, measure in enumerate(found):
        if measure is None:
            cells.append(Cell())
            continue
        reference = found[0] if i else None
        delta = measure.accuracy - reference.accuracy if reference else None
        same = reference and one_protocol(subjects[i], subjects[0])
        difference = paired(measure.flags, reference.flags, confidence) if reference and same else None
        interval = wilson(measure.correct, measure.n, confidence)
        word = describe(delta, difference, more_is_better=True)
        cells.append(Cell(measure.accuracy, measure.n, interval, delta, difference, word))
    return tuple(cells)


def gap_cells(subjects: Sequence[Subject], name: str, confidence: float) -> tuple[Cell, ...]:
    """The RO gap of every subject under one attack, beside the first one's."""
    found = [subject.gap(name) for subject in subjects]
    cells = []
    for i, pair in enumerate(found):
        if pair is None:
            cells.append(Cell())
            continue
        reference = found[0] if i else None
        best, last = pair
        own = paired(best.flags, last.flags, confidence)
        delta = own.value - (reference[0].accuracy - reference[1].accuracy) if reference else None
        difference = None
        if reference and one_protocol(subjects[i], subjects[0]):
            difference = paired_gaps(best.flags, last.flags, reference[0].flags, reference[1].flags, confidence)
        word = describe(delta, difference, more_is_better=False)
        cells.append(Cell(own.value, own.n, (own.low, own.high), delta, difference, word))
    return tuple(cells)


def one_protocol(a: Subject, b: Subject) -> bool:
    """Whether two subjects were attacked under one protocol, so that their flags are of the same images."""
    return bool(a.results and b.results and a.results.protocol_fingerprint == b.results.protocol_fingerprint)


def describe(delta: float | None, difference: Difference | None, more_is_better: bool) -> Word:
    """What a delta means: `same` is exactly zero, `within noise` is an interval that zero lies in."""
    if delta is None:
        return ""
    if abs(delta) < 1e-12:
        return "same"
    if difference is not None and not difference.settled:
        return "within noise"
    return "better" if (delta > 0) == more_is_better else "worse"
