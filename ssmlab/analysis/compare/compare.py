"""Compares runs, groups of runs and checkpoints: which settings differ, and how the accuracies differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ssmlab.analysis.compare.deltas import ComparedValue, compared_values
from ssmlab.analysis.compare.entries import CHECKPOINT, Entry, resolve_entry
from ssmlab.analysis.format import level
from ssmlab.analysis.protocol import by_strength, spell_difference
from ssmlab.core.errors import ProtocolMismatch, UserError
from ssmlab.params import Which
from ssmlab.params.paths import Paths

if TYPE_CHECKING:
    from pandas import DataFrame

Moment = Literal["best", "last", "gap"]


@dataclass(frozen=True)
class Setting:
    """The value of one parameter in every entry; the key is dotted, and None means that an entry lacks it."""

    key: str
    values: tuple[Any, ...]

    @property
    def changed(self) -> bool:
        """Whether its value differs between entries."""
        return any(value != self.values[0] for value in self.values)


@dataclass(frozen=True)
class ComparisonLine:
    """One measure of every entry: accuracy at `best` or `last`, or `gap` = best - last (smaller is better)."""

    measure: str
    moment: Moment
    values: tuple[ComparedValue, ...]


@dataclass(frozen=True)
class Comparison:
    """A comparison of entries; every delta is a difference from the first entry.

    Attributes:
        entries: the runs, groups or checkpoints, in the order in which they were asked for.
        lines: every measure with its value, interval and delta for each entry.
        settings: all parameters; most readers want only those with `changed`.
        mismatch: a line that every output format shows if the protocols differ; None if they are the same.
        confidence: the confidence level of every interval.
    """

    entries: tuple[Entry, ...]
    settings: tuple[Setting, ...]
    lines: tuple[ComparisonLine, ...]
    mismatch: str | None
    confidence: float

    def __repr__(self) -> str:
        names = ", ".join(entry.name for entry in self.entries)
        return f"Comparison of {names} in {len(self.lines)} measures; to_frame() has the numbers, notes what to know"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know about single entries and about the number of their seeds."""
        return (
            *(entry.note for entry in self.entries if entry.note),
            *cut_short_notes(self.entries),
            *same_checkpoint_notes(self.entries),
            *seed_notes(self.entries, self.confidence),
            *((EXPLORATORY,) if len(self.entries) > 1 else ()),
        )

    def to_frame(self) -> DataFrame:
        """A pandas DataFrame with one row for every number of every entry.

        Returns:
            columns measure, of ("best", "last", or "gap": best minus last), entry, value, n, low, high, std, n_seeds,
            delta, delta_low, delta_high and word. Accuracies, gaps and deltas are fractions. Values that were not
            measured or cannot be judged are missing (NaN). `ssmlab.analysis.compare.deltas.ComparedValue` explains the
            columns.
        """
        from pandas import DataFrame

        rows = []
        for line in self.lines:
            for entry, cell in zip(self.entries, line.values, strict=True):
                low, high = cell.interval or (None, None)
                change = cell.difference
                delta = (cell.delta, change and change.low, change and change.high, cell.word)
                value = (cell.value, cell.n, low, high, cell.std, cell.n_seeds)
                rows.append((line.measure, line.moment, entry.name, *value, *delta))
        value_columns = ("value", "n", "low", "high", "std", "n_seeds")
        names = ("measure", "of", "entry", *value_columns, "delta", "delta_low", "delta_high", "word")
        frame = DataFrame(rows, columns=list(names))
        counts = {"n": "Int64", "n_seeds": "Int64"}
        return frame.astype({name: counts.get(name, "float64") for name in names if name not in TEXTS})


EXPLORATORY = (
    "exploratory: these intervals are not corrected for the number of comparisons; the claims in a study's report are"
)
TEXTS = ("measure", "of", "entry", "word")  # columns of `Comparison.to_frame`


def compare(entries: Sequence[str], paths: Paths | None = None, force: bool = False) -> Comparison:
    """Compare runs, groups of runs that differ only in their seed, or checkpoints.

    Args:
        entries: names of runs or groups of the current study, `study/NAME`, or checkpoint files; at least two.
        paths: the current study; None if every entry is `study/NAME` or a file.
        force: compare even if the protocols differ; the comparison is then marked.

    Returns:
        every measure, parameter and difference; accuracies and differences are fractions.

    Raises:
        UserError: an entry is unknown, or there are fewer than two.
        ProtocolMismatch: two entries were attacked under different protocols, and `force` is off.
    """
    if len(entries) < 2:
        raise UserError("compare needs two entries or more, for example `ssmlab compare ads attention`")
    without_study = [
        entry for entry in entries if paths is None and "/" not in entry and not entry.endswith(CHECKPOINT)
    ]
    if without_study:
        raise UserError(f"'{without_study[0]}': name the study too, as in 'mnist5k/{without_study[0]}'")
    paths = paths or Paths("")
    return side_by_side(tuple(resolve_entry(entry, paths) for entry in entries), force)


def side_by_side(entries: tuple[Entry, ...], force: bool = False, confidence: float = 0.95) -> Comparison:
    """Compare entries that were found already.

    Raises:
        ProtocolMismatch: two entries were attacked under different protocols, and `force` is off.
    """
    mismatch = find_mismatch(entries)
    if mismatch and not force:
        raise ProtocolMismatch(f"{mismatch}; attack them with the same settings, or compare anyway with --force")
    keys = sorted({key for entry in entries for key in entry.settings})
    return Comparison(
        entries=entries,
        settings=tuple(Setting(key, tuple(entry.settings.get(key) for entry in entries)) for key in keys),
        lines=tuple(line for line in measure_lines(entries, confidence) if any(value.n for value in line.values)),
        mismatch=f"not comparable: {mismatch}" if mismatch else None,
        confidence=confidence,
    )


def find_mismatch(entries: Sequence[Entry]) -> str | None:
    """How the protocols of the first training and of the first one with another protocol differ; None if all agree."""
    attacked = [(each.name, each.results) for entry in entries for each in entry.trainings if each.results]
    for name, results in attacked[1:]:
        first, reference = attacked[0]
        if results.protocol_fingerprint != reference.protocol_fingerprint:
            return f"{first} and {name} were attacked under different protocols: {spell_difference(reference, results)}"
    return None


def cut_short_notes(entries: Sequence[Entry]) -> Iterator[str]:
    """Which trainings ended before their last epoch."""
    for entry in entries:
        for each in entry.trainings:
            if each.epochs and each.epochs.cut_short:
                yield f"{each.name} is an unfinished training: {each.epochs.text} epochs."


def same_checkpoint_notes(entries: Sequence[Entry]) -> Iterator[str]:
    """Which entries have exactly the same checkpoint as the first one, so no number can differ."""
    first, *others = entries
    hashes = first.hashes
    for other in others:
        if hashes and other.hashes == hashes:
            yield f"{first.name} and {other.name} are the same checkpoint."


def seed_notes(entries: Sequence[Entry], confidence: float) -> Iterator[str]:
    """What standard deviations and deltas of groups mean, and which deltas cannot be judged; empty without groups."""
    if not any(entry.members for entry in entries):
        return
    yield (
        "±: the standard deviation over seeds. "
        f"Deltas between groups are judged by {level(confidence)} intervals over seeds and images."
    )
    first, *others = entries
    for other in others:
        if not (first.members or other.members):
            yield f"{first.name} and {other.name} are single trainings: their deltas are judged over images only."
        elif not (first.members and other.members):
            yield (
                f"{first.name} ({seed_count_text(first)}) and {other.name} ({seed_count_text(other)}): their deltas "
                "are not judged, because a single training does not show how much seeds vary."
            )


def seed_count_text(entry: Entry) -> str:
    """`3 seeds`, `a single training`."""
    return f"{len(entry.members)} seeds" if entry.members else "a single training"


def measure_lines(entries: Sequence[Entry], confidence: float) -> list[ComparisonLine]:
    """All accuracies of the best checkpoints, then those of the last ones, then the RO gap under every attack."""
    attacks = {
        name: spec for entry in entries for results in entry.attacked for name, spec in results.protocol.attacks.items()
    }
    ordered = by_strength(attacks)
    moments: tuple[Which, ...] = ("best", "last")
    accuracies = [
        ComparisonLine(
            name, moment, compared_values(entries, [entry.accuracy(name, moment) for entry in entries], confidence)
        )
        for moment in moments
        for name in ("clean", *ordered)
    ]
    gaps = [
        ComparisonLine(name, "gap", compared_values(entries, [entry.gap(name) for entry in entries], confidence))
        for name in ordered
    ]
    return accuracies + gaps
