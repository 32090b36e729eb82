"""What an evaluation found, and results/<study>/attack/<run>.json. Nothing here imports torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ssmlab.artifacts.manifest import Manifest
from ssmlab.artifacts.provenance import Provenance
from ssmlab.core.digest import read_sealed_json, sealed_json
from ssmlab.core.files import write_atomic
from ssmlab.core.validation import as_model
from ssmlab.evaluation.protocol import Protocol
from ssmlab.evaluation.token_map import TokenMap
from ssmlab.params import Strict, Which

Interval = Annotated[tuple[float, float], Field(strict=False)]
Words = Annotated[tuple[str, ...], Field(strict=False)]
LossByStep = Annotated[tuple[float, ...], Field(strict=False)]
ScanPlaces = Annotated[tuple[float, ...], Field(strict=False)]
BreakingDistances = Annotated[tuple[float | None, ...], Field(strict=False)]


class Count(Strict):
    """How many of `n` images are right.

    Attributes:
        n, correct, accuracy: images, right ones, and correct / n.
        interval: Wilson's, at 95%.
        flags: one character an image in order, "1" for right.
    """

    n: Annotated[int, Field(ge=1)]
    correct: int
    accuracy: float
    interval: Interval
    flags: Annotated[str, Field(pattern="^[01]*$")]

    @model_validator(mode="after")
    def flags_agree(self) -> Self:
        """The numbers are those of the flags."""
        if len(self.flags) != self.n or self.flags.count("1") != self.correct:
            raise ValueError("n and correct do not agree with the flags")
        if (self.accuracy, self.interval) != (self.correct / self.n, wilson(self.correct, self.n)):
            raise ValueError("accuracy and interval do not agree with the flags")
        return self

    @classmethod
    def of(cls, flags: str, **more: Any) -> Self:
        """Count the flags of at least one image; `more` are the other fields of the class."""
        n, correct = len(flags), flags.count("1")
        return cls(n=n, correct=correct, accuracy=correct / n, interval=wilson(correct, n), flags=flags, **more)


class Measure(Count):
    """Clean accuracy, or the accuracy under one attack.

    Attributes:
        standard: of AutoAttack only: whether it is the published ensemble (100 steps, 5,000 queries).
        parts: of AutoAttack and screened AutoAttack: the accuracy that was left after each part, in order of running.
        screened: of screened AutoAttack only: how many survivors FAB-T attacked.
        queries: how often the model was asked about an image that was attacked, on average; a gradient is one query.
        loss_by_step: of FGSM and PGD: the mean cross entropy before every step of the first start and after the last.
        distances: of FMN: for each image the smallest distance, in the attack's norm, at which it was found to be
            broken; 0 where it is wrong when clean, None where none was found. Accuracy at any radius is the share of
            images beyond it.
        patch: of token attacks: the side of the patch that they change. They do not search the ball of the study.
        token_map: of token attacks at every position: how many images each position breaks.
    """

    standard: bool | None = None
    parts: dict[str, float] | None = None
    screened: int | None = None
    queries: float | None = None
    loss_by_step: LossByStep | None = None
    distances: BreakingDistances | None = None
    patch: int | None = None
    token_map: TokenMap | None = None


class WorstCase(Count):
    """Images that are right under every measure in `over`; counted on the images that all of these saw."""

    over: Words


class Check(Strict):
    """One check of whether the numbers can be taken at face value; docs/evaluation.md explains every one.

    Attributes:
        name: what was checked ("random", "saturated").
        value: what was measured, in the unit of `threshold`.
        threshold: where it begins to speak against the numbers.
        raised: whether it does.
        sentence: what was found, in words; where nothing was, empty.
    """

    name: str
    value: float
    threshold: float
    raised: bool
    sentence: str = ""


Checks = Annotated[tuple[Check, ...], Field(strict=False)]


class Evaluation(Strict):
    """All measures of one model: `measures["clean"]`, then one for each attack.

    Attributes:
        checks: what was checked on the model and on its numbers, raised or not.
        warnings: what speaks against taking the numbers at face value, a sentence each; those of raised checks too.
    """

    measures: dict[str, Measure]
    worst_case: WorstCase
    checks: Checks = ()
    warnings: Words

    @model_validator(mode="after")
    def worst_case_agrees(self) -> Self:
        """The worst case is that of the measures."""
        found, expected = self.worst_case, worst_case(self.measures)
        if found.flags != expected.flags or set(found.over) != set(expected.over):  # JSON does not keep their order
            raise ValueError("worst_case is not that of the measures")
        return self


class CheckpointResults(Evaluation):
    """The evaluation of a checkpoint, and what the checkpoint says of itself; of its training only if it was ours."""

    sha256: str
    epoch: int | None = None
    val_clean: float | None = None
    val_robust: float | None = None
    selection_split: Literal["validation", "test"] | None = None


class AttackResults(Strict):
    """results/<study>/attack/<run>.json. Equal results are equal bytes: it holds no times, hosts or dates.

    scans: of token attacks at every position, by name: where in the model's scan each position of the map is read, from
    0 at the start to 1 at the end; the mean over its pixels where they are in several tokens.
    provenance: what the attacks were started from. manifest: that of the trained run's folder, with its epochs and the
    provenance of the training, but without the hash of history.csv, which holds times; None for an imported checkpoint.
    """

    format: Literal[2]
    study: str
    run: str
    parameters: int
    model: dict[str, Any]
    train: dict[str, Any]
    code_version: str
    protocol: Protocol
    protocol_fingerprint: str
    checkpoints: dict[Which, CheckpointResults]
    scans: dict[str, ScanPlaces] | None = None
    provenance: Provenance | None = None
    manifest: Manifest | None = None

    @model_validator(mode="after")
    def fingerprint_agrees(self) -> Self:
        """The fingerprint is that of the protocol."""
        if self.protocol_fingerprint != self.protocol.fingerprint():
            raise ValueError("protocol_fingerprint is not that of the protocol")
        return self


def load_results(path: Path) -> AttackResults:
    """Read the attack results of a run.

    Raises:
        UserError: the file is missing, damaged (its digest or its numbers do not agree with its content), or is not
            what this version writes; results of earlier versions have no digest. The message has the remedy.
    """
    what, remedy = "attack results", f"run `ssmlab attack {path.stem}`"
    return as_model(read_sealed_json(path, what, remedy), path, AttackResults, what, remedy)


def save_results(path: Path, results: AttackResults) -> None:
    """Write the attack results of a run with a digest of their content; raises UserError if the disk is full."""
    write_atomic(path, sealed_json(results.plain()))


def worst_case(measures: Mapping[str, Measure]) -> WorstCase:
    """Per image the worst of all measures in the ball of the study, on the first images, which all of them saw."""
    inside = {name: measure for name, measure in measures.items() if measure.patch is None}
    together = zip(*(measure.flags for measure in inside.values()), strict=False)
    return WorstCase.of("".join(map(min, together)), over=tuple(inside))


def wilson(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) for a proportion of `correct` in `n` >= 1 independent trials."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p, shrink = correct / n, 1 + z * z / n
    centre = (p + z * z / (2 * n)) / shrink
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / shrink
    # at the ends the exact bound is 0 or 1, which rounding misses
    return (0.0 if correct == 0 else centre - half), (1.0 if correct == n else centre + half)
