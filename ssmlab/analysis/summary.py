"""The study in numbers: results/<study>/analysis/summary.json, from its attack results and what its data are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ssmlab.analysis.claims import Judgement
from ssmlab.analysis.data_used import DataUsed
from ssmlab.analysis.intervals import Difference
from ssmlab.analysis.origin import EpochsDone, Origin
from ssmlab.analysis.seeds import Spread
from ssmlab.core.validation import read_model
from ssmlab.evaluation.results import Check, Protocol
from ssmlab.params import ModelParams, Strict, TrainParams, Which

WORST = "worst case"  # a label, not an attack's name: those have no spaces


class Accuracy(Strict):
    """`correct` of `n` images as a fraction, with its Wilson interval at the study's confidence."""

    n: int
    correct: int
    value: float
    interval: Annotated[tuple[float, float], Field(strict=False)]


class Checkpoint(Strict):
    """What was measured on one checkpoint, by measure; `WORST` counts the images right under every one of `over`.

    Attributes:
        checked: the names of the checks that the evaluation made; empty in results of older versions, which made none.
        raised: the checks among them that speak against the numbers.
        by_eps: (eps, accuracy) at radii from 0 on, where an attack searched the smallest distances (FMN); else empty.
    """

    sha256: str
    epoch: int | None = None
    val_clean: float | None = None
    val_robust: float | None = None
    selection_split: Literal["validation", "test"] | None = None
    measures: dict[str, Accuracy]
    over: Annotated[tuple[str, ...], Field(strict=False)]
    warnings: Annotated[tuple[str, ...], Field(strict=False)]
    checked: Annotated[tuple[str, ...], Field(strict=False)] = ()
    raised: Annotated[tuple[Check, ...], Field(strict=False)] = ()
    by_eps: Annotated[tuple[Annotated[tuple[float, float], Field(strict=False)], ...], Field(strict=False)] = ()


class CheckOverview(Strict):
    """One check of the evaluation over all checkpoints that it was made on.

    Attributes:
        models, raised: on how many checkpoints it was made, and on how many it speaks against the numbers.
        run, which, value, threshold: where it came nearest to its threshold or went furthest beyond it.
    """

    name: str
    models: int
    raised: int
    run: str
    which: Which
    value: float
    threshold: float


class Run(Strict):
    """One run: what it is, its checkpoints, and how far each accuracy falls from the best to the last of them.

    Attributes:
        epochs: how far its training went; None where neither manifest nor history says so.
        trained, attacked: how its checkpoints and its numbers came about; None where older versions recorded nothing.
    """

    name: str
    label: str
    regime: str
    parameters: int
    model: ModelParams
    train: TrainParams
    code_version: str
    checkpoints: dict[Which, Checkpoint]
    gaps: dict[str, Difference]
    epochs: EpochsDone | None = None
    trained: Origin | None = None
    attacked: Origin | None = None

    def measure(self, name: str, which: Which) -> Accuracy | None:
        """One accuracy, or None where it was not measured."""
        checkpoint = self.checkpoints.get(which)
        return checkpoint.measures.get(name) if checkpoint else None


class SeedGroup(Strict):
    """One model, trained in one way with one seed or several; the numbers of each are in the runs of the summary.

    Attributes:
        name: what the names of the runs have in common; a single run's own name.
        runs, seeds: the runs in the order of their seeds.
        checkpoints, gaps: every measure over the seeds, as accuracies in [0, 1] and their fall from best to last.
    """

    name: str
    label: str
    regime: str
    parameters: int
    runs: Annotated[tuple[str, ...], Field(strict=False)]
    seeds: Annotated[tuple[int, ...], Field(strict=False)]
    checkpoints: dict[Which, dict[str, Spread]]
    gaps: dict[str, Spread]

    @property
    def several(self) -> bool:
        """Whether there are several seeds."""
        return len(self.seeds) > 1

    def measure(self, name: str, which: Which) -> Spread | None:
        """One accuracy over the seeds, or None where it was not measured."""
        return self.checkpoints.get(which, {}).get(name)


class StudySettings(Strict):
    """The sections of params.yaml that the numbers were made with, beside those of the runs.

    is_prepared: whether the prepared data set says the same of itself as `data`; if not, it was made with other
    settings, which are unknown.
    """

    data: dict[str, Any]
    attack: dict[str, Any]
    probe: dict[str, Any]
    analyze: dict[str, Any]
    is_prepared: bool


class Summary(Strict):
    """A study: its data, its protocol, its runs in the order of params.yaml, and its claims judged.

    Attributes:
        confidence: the level of every interval.
        groups: the runs that differ in their seed alone, together; every run is in one, alone if need be.
        measures: `clean`, then the attacks from the weakest kind to the strongest, then the worst case over them.
        settings: what else was set; None where it is not known.
        checks: what the evaluation checked, in its order; empty in results of older versions.
        left_out: runs with attack results that are not in params.yaml any more.
    """

    format: Literal[1] = 1
    study: str
    confidence: float
    data: DataUsed
    protocol: Protocol
    protocol_fingerprint: str
    measures: Annotated[tuple[str, ...], Field(strict=False)]
    runs: Annotated[tuple[Run, ...], Field(strict=False)]
    groups: Annotated[tuple[SeedGroup, ...], Field(strict=False)]
    claims: Annotated[tuple[Judgement, ...], Field(strict=False)]
    settings: StudySettings | None = None
    checks: Annotated[tuple[CheckOverview, ...], Field(strict=False)] = ()
    left_out: Annotated[tuple[str, ...], Field(strict=False)] = ()

    @property
    def attacks(self) -> tuple[str, ...]:
        """The measures that are attacks."""
        return tuple(name for name in self.measures if name not in ("clean", WORST))

    @property
    def several_seeds(self) -> bool:
        """Whether anything was trained with several seeds."""
        return any(group.several for group in self.groups)

    def members(self, group: SeedGroup) -> list[Run]:
        """The runs of a group, in the order of their seeds."""
        by_name = {run.name: run for run in self.runs}
        return [by_name[name] for name in group.runs]

    def main_attack(self) -> str:
        """The attack that stands for robust accuracy where there is room for one.

        It is the strongest of those that attacked the best checkpoints on the most images.
        """
        seen = {
            name: max((found.n for run in self.runs if (found := run.measure(name, "best"))), default=0)
            for name in self.attacks
        }
        return max(self.attacks, key=lambda name: (seen[name], self.attacks.index(name)))

    def every(self, name: str) -> list[Accuracy]:
        """One measure, of every run and checkpoint that has it."""
        return [measure for run in self.runs for which in run.checkpoints if (measure := run.measure(name, which))]

    def images(self, name: str) -> int:
        """The most images that a measure was taken on."""
        return max(measure.n for measure in self.every(name))


def load_summary(path: Path) -> Summary:
    """Read a summary; raises UserError if it is missing or was not written by this version's `ssmlab analyze`."""
    return read_model(path, Summary, "the analysis of a study", "run `ssmlab analyze`")
