"""All settings of a study: params.yaml with every run resolved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from ssmlab.core.errors import UserError
from ssmlab.core.text import few, hint, listed, printable
from ssmlab.params.attack import AttackParams
from ssmlab.params.base import IMPORTED, NAME, NOT_TEXT, RUN_NAME, ShownText, Strict
from ssmlab.params.data import DataParams
from ssmlab.params.model import ModelParams
from ssmlab.params.probe import ProbeParams
from ssmlab.params.seeds import common_name, seed_groups
from ssmlab.params.train import TrainParams


class RunParams(Strict):
    """One run of a study: the shared `model` and `train` sections with the run's own changes applied."""

    model: ModelParams
    train: TrainParams


class ClaimParams(Strict):
    """A claim that the numbers decide: `run` is higher than `than` in every one of `measures`.

    Attributes:
        run, than: runs, or groups of runs that differ only in their seed, which are judged over all their seeds.
        measures: `clean` or the name of an attack, each of the best checkpoint, or `ro_gap:NAME` (best minus last
            robust accuracy under attack NAME).
        by: the difference in percentage points that it must exceed; 0 by default.
    """

    says: ShownText
    run: str
    than: str
    measures: Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
    by: Annotated[float, Field(gt=0.0, lt=100.0)] | None = None


class AnalyzeParams(Strict):
    """The claims of the analysis, and the confidence level of every interval."""

    confidence: Annotated[float, Field(gt=0.5, lt=1.0)]
    claims: Annotated[tuple[ClaimParams, ...], Field(strict=False)]


class ReportParams(Strict):
    """The heading of the report."""

    title: ShownText


class Params(Strict):
    """All settings of a study: params.yaml, with every run resolved."""

    study: str
    data: DataParams
    runs: Annotated[dict[str, RunParams], Field(min_length=1)]
    attack: AttackParams
    probe: ProbeParams
    analyze: AnalyzeParams
    report: ReportParams

    @model_validator(mode="after")
    def _selection_has_images(self) -> Self:
        for name, run in self.runs.items():
            if self.data.validation == 0 and run.train.selection.split == "validation":
                raise ValueError(
                    f"data.validation is 0, but run '{name}' selects on the validation split; give it images"
                )
        return self

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        for key, name in (("study", self.study), *(("attack.attacks", name) for name in self.attack.attacks)):
            if not NAME.fullmatch(name):
                raise ValueError(
                    f"{key}: '{printable(name, 80)}' cannot be a name: use up to 100 lower-case letters, digits, '.', "
                    "'_' and '-'"
                )
        if self.study == IMPORTED:
            raise ValueError(f"study: '{IMPORTED}' is the study of imported checkpoints; choose another name")
        for name in self.runs:
            if not RUN_NAME.fullmatch(name):
                raise ValueError(
                    f"runs: '{printable(name, 80)}' cannot be a run's name: use up to 100 lower-case letters, digits, "
                    "'_' and '-'"
                )
            if NOT_TEXT.fullmatch(name):
                raise ValueError(
                    f"runs: '{name}' cannot be a run's name: YAML takes it for a value; name it run-{name}"
                )
        if "clean" in self.attack.attacks:
            raise ValueError("no attack can be named 'clean': that is the accuracy without one")
        groups = self.groups if self.analyze.claims else {}
        for claim in self.analyze.claims:
            for name in (claim.run, claim.than):
                if name not in self.runs and name not in groups:
                    raise ValueError(f"analyze.claims: '{printable(name, 80)}' {not_named(name, self.runs, groups)}")
            for measure in claim.measures:
                if measure.removeprefix("ro_gap:") not in (*self.attack.attacks, "clean"):
                    known = hint(measure, ["clean", *self.attack.attacks, "ro_gap:<attack>"])
                    raise ValueError(f"analyze.claims: '{printable(measure, 80)}' is not a measure ({known})")
        return self

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The runs that differ only in their seed, by group name; `ssmlab.params.seeds` has the rule."""
        return seed_groups({name: run.plain() for name, run in self.runs.items()})

    def runs_named(self, name: str) -> tuple[str, ...]:
        """The runs that a name means: a run itself, or those of a group; none for any other name."""
        return (name,) if name in self.runs else self.groups.get(name, ())

    def run(self, name: str) -> RunParams:
        """The run called `name`; raises a UserError that suggests an existing name, or the runs of a group."""
        if name in self.groups and name not in self.runs:
            seeds = listed(few(self.groups[name]), "or")
            raise UserError(f"'{name}' is a group of {len(self.groups[name])} runs; name one of them: {seeds}")
        if name not in self.runs:
            raise UserError(f"no run '{printable(name, 80)}' in study {self.study} ({hint(name, self.runs, 'runs')})")
        return self.runs[name]


def not_named(name: str, runs: Mapping[str, RunParams], groups: Mapping[str, Sequence[str]]) -> str:
    """Why a claim cannot have this name, and what it could have, as the end of a sentence."""
    alone = [run for run in groups if run in runs and common_name({runs[run].train.seed: run}) == name]
    if alone:
        return f"has one seed, and a group needs two; name the run {alone[0]} itself, or add a run with another seed"
    return f"is not a run or a group of runs ({hint(name, dict.fromkeys([*runs, *groups]), 'runs and groups')})"
