"""The format of results/<study>/analysis/summary.json: all numbers of a study and the data set behind them."""

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
from ssmlab.evaluation.protocol import Protocol
from ssmlab.evaluation.results import Check
from ssmlab.evaluation.token_map import TokenMap
from ssmlab.params import ModelParams, Strict, TrainParams, Which

WORST = "worst case"  # no attack can have this name: names of attacks contain no spaces


class Accuracy(Strict):
    """`correct` of `n` images as a fraction, with its Wilson interval at the study's confidence."""

    n: int
    correct: int
    value: float
    interval: Annotated[tuple[float, float], Field(strict=False)]


class Checkpoint(Strict):
    """What was measured on one checkpoint.

    Attributes:
        measures: accuracies by measure; `WORST` counts the images that are right under every measure in `over`.
        over: the measures that the worst case covers.
        checked: names of the checks that the evaluation ran; empty in results of older versions, which ran none.
        raised: the checks among them that raised a flag: the numbers may be wrong.
        token_map: how many images each position breaks, if a token attack went to every position.
        by_step: accuracy after 0, 1, 2, ... steps of the PGD with the most steps; empty without a PGD.
        by_eps: (eps, accuracy) for increasing radii from 0, if an attack searched the smallest distances (FMN); else
            empty.
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
    token_map: TokenMap | None = None
    by_step: Annotated[tuple[float, ...], Field(strict=False)] = ()
    by_eps: Annotated[tuple[Annotated[tuple[float, float], Field(strict=False)], ...], Field(strict=False)] = ()


class CheckOverview(Strict):
    """One check of the evaluation, summarised over all checkpoints on which it ran.

    Attributes:
        models, raised: number of checkpoints on which it ran, and on which it raised a flag.
        run, which, value, threshold: the checkpoint with the largest value minus threshold, and both numbers.
    """

    name: str
    models: int
    raised: int
    run: str
    which: Which
    value: float
    threshold: float


class Run(Strict):
    """One run: its settings, its checkpoints, and the fall of every accuracy from best to last.

    Attributes:
        label, regime: short names of the model and of the training.
        parameters: number of trained real parameters.
        gaps: best minus last accuracy by measure.
        epochs: how far its training went; None if neither manifest nor history records it.
        scan: where the model's scan reads each position of the token map, from 0 to 1; empty without a map.
        trained, attacked: provenance of its checkpoints and of its numbers; None if an older version recorded nothing.
    """

    name: str
    label: str
    regime: str
    parameters: Annotated[int, Field(ge=1)]
    model: ModelParams
    train: TrainParams
    code_version: str
    checkpoints: dict[Which, Checkpoint]
    gaps: dict[str, Difference]
    epochs: EpochsDone | None = None
    scan: Annotated[tuple[float, ...], Field(strict=False)] = ()
    trained: Origin | None = None
    attacked: Origin | None = None

    def measure(self, name: str, which: Which) -> Accuracy | None:
        """One accuracy, or None if it was not measured."""
        checkpoint = self.checkpoints.get(which)
        return checkpoint.measures.get(name) if checkpoint else None


class SeedGroup(Strict):
    """One setting of model and training with one or more seeds. `Summary.runs` holds the numbers of each run.

    Attributes:
        name: the common part of the run names; for a single run, its name.
        runs, seeds: the runs and their seeds, ordered by seed.
        checkpoints, gaps: every measure over the seeds: accuracies in [0, 1], and best minus last.
    """

    name: str
    label: str
    regime: str
    parameters: Annotated[int, Field(ge=1)]
    runs: Annotated[tuple[str, ...], Field(strict=False)]
    seeds: Annotated[tuple[int, ...], Field(strict=False)]
    checkpoints: dict[Which, dict[str, Spread]]
    gaps: dict[str, Spread]

    @property
    def several(self) -> bool:
        """Whether there are several seeds."""
        return len(self.seeds) > 1

    def measure(self, name: str, which: Which) -> Spread | None:
        """One accuracy over the seeds, or None if it was not measured."""
        return self.checkpoints.get(which, {}).get(name)


class StudySettings(Strict):
    """The sections of params.yaml behind the numbers, without the sections of the runs.

    Attributes:
        is_prepared: whether the prepared data set was made with the settings in `data`. If not, its settings are
            unknown.
    """

    data: dict[str, Any]
    attack: dict[str, Any]
    probe: dict[str, Any]
    analyze: dict[str, Any]
    is_prepared: bool


class Summary(Strict):
    """A study: its data, its protocol, its runs in the order of params.yaml, and the verdicts on its claims.

    Attributes:
        confidence: the level of every interval.
        groups: the runs grouped by everything except their seed. Every run is in exactly one group.
        measures: `clean`, then the attacks from the weakest kind to the strongest, then the worst case over them.
        settings: the other settings of the study; None if they are unknown.
        checks: the checks of the evaluation, in their order; empty in results of older versions.
        left_out: runs that have attack results but are no longer in params.yaml.
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
        """Whether any group has several seeds."""
        return any(group.several for group in self.groups)

    def members(self, group: SeedGroup) -> list[Run]:
        """The runs of a group, ordered by seed."""
        by_name = {run.name: run for run in self.runs}
        return [by_name[name] for name in group.runs]

    def main_attack(self) -> str:
        """The attack that is reported as robust accuracy if there is room for one number only.

        It is the strongest of the attacks that saw the most images of any best checkpoint. Token attacks, which change
        one patch only, count only if there is no other attack.
        """
        attacks = [name for name in self.attacks if self.protocol.attacks[name].kind != "token"] or self.attacks
        seen = {
            name: max((found.n for run in self.runs if (found := run.measure(name, "best"))), default=0)
            for name in attacks
        }
        return max(attacks, key=lambda name: (seen[name], attacks.index(name)))

    def every(self, name: str) -> list[Accuracy]:
        """One measure on every checkpoint of every run that has it."""
        return [measure for run in self.runs for which in run.checkpoints if (measure := run.measure(name, which))]

    def images(self, name: str) -> int:
        """The largest number of images on which a measure was taken."""
        return max(measure.n for measure in self.every(name))


def load_summary(path: Path) -> Summary:
    """Read a summary.

    Raises:
        UserError: it is missing, or another version of `ssmlab analyze` wrote it.
    """
    return read_model(path, Summary, "the analysis of a study", "run `ssmlab analyze`")
