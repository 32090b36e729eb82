"""The results of an evaluation, and the file results/<study>/attack/<run>.json. Nothing here imports torch."""

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
AccuracyByStep = Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(strict=False)]
BreakingDistances = Annotated[tuple[float | None, ...], Field(strict=False)]


class Count(Strict):
    """How many of `n` images are right.

    Attributes:
        n, correct, accuracy: number of images, number of right images, and correct / n.
        interval: the 95% Wilson interval of the accuracy.
        flags: one character per image, in order: "1" for right, "0" for wrong.
    """

    n: Annotated[int, Field(ge=1)]
    correct: int
    accuracy: float
    interval: Interval
    flags: Annotated[str, Field(pattern="^[01]*$")]

    @model_validator(mode="after")
    def flags_agree(self) -> Self:
        """Check that the numbers follow from the flags."""
        if len(self.flags) != self.n or self.flags.count("1") != self.correct:
            raise ValueError("n and correct do not agree with the flags")
        if (self.accuracy, self.interval) != (self.correct / self.n, wilson(self.correct, self.n)):
            raise ValueError("accuracy and interval do not agree with the flags")
        return self

    @classmethod
    def of(cls, flags: str, **more: Any) -> Self:
        """Count the flags of one or more images; `more` holds the other fields of the class."""
        n, correct = len(flags), flags.count("1")
        return cls(n=n, correct=correct, accuracy=correct / n, interval=wilson(correct, n), flags=flags, **more)


class Measure(Count):
    """Clean accuracy, or the accuracy under one attack.

    Attributes:
        standard: for AutoAttack only: whether it is the published ensemble (100 steps, 5,000 queries).
        parts: for AutoAttack and screened AutoAttack: the accuracy after each part, in the order of the parts.
        screened: for screened AutoAttack only: the number of survivors that FAB-T attacked.
        queries: mean number of model evaluations per attacked image; a gradient counts as one.
        loss_by_step: for FGSM and PGD: the mean cross entropy before every step of the first start and after the last.
        accuracy_by_step: for FGSM and PGD: the accuracy at the same points. The value at step s is that of an attack
            with s steps of the same size.
        distances: for FMN: the smallest distance, in the attack's norm, at which each image was broken; 0 if the clean
            image is wrong, None if no adversarial image was found. The accuracy at a radius is the share of images with
            a larger distance.
        patch: for token attacks: the side of the patch that they change. They do not search the ball of the study.
        token_map: for token attacks at every position: how many images each position breaks.
    """

    standard: bool | None = None
    parts: dict[str, float] | None = None
    screened: int | None = None
    queries: float | None = None
    loss_by_step: LossByStep | None = None
    accuracy_by_step: AccuracyByStep | None = None
    distances: BreakingDistances | None = None
    patch: int | None = None
    token_map: TokenMap | None = None


class WorstCase(Count):
    """The images that are right under every measure in `over`, counted on the images that all of these saw."""

    over: Words


class Check(Strict):
    """One check of whether the numbers can be trusted; docs/evaluation.md explains every check.

    Attributes:
        name: what was checked ("random", "saturated").
        value: the measured value, in the unit of `threshold`.
        threshold: the value from which the numbers are in doubt.
        raised: whether the check raised a flag.
        sentence: what was found, as text; empty if no flag was raised.
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
        measures: by "clean" and by the names of the attacks.
        worst_case: the images that are right under all attacks in the ball of the study.
        checks: all checks of the model and of its numbers.
        warnings: reasons to doubt the numbers, one sentence each, including those of raised checks.
    """

    measures: dict[str, Measure]
    worst_case: WorstCase
    checks: Checks = ()
    warnings: Words

    @model_validator(mode="after")
    def worst_case_agrees(self) -> Self:
        """Check that the worst case follows from the measures."""
        found, expected = self.worst_case, worst_case(self.measures)
        if found.flags != expected.flags or set(found.over) != set(expected.over):  # JSON does not keep their order
            raise ValueError("worst_case does not agree with the measures")
        return self

    def __str__(self) -> str:
        """Every accuracy with its interval, and the warnings, one per line: what `print` and a notebook show."""
        counts: dict[str, Count] = {**self.measures, "worst case": self.worst_case}
        width = max(map(len, counts))
        lines = (
            f"{name:<{width}} {count.accuracy:6.1%} of {count.n} images (95% interval {low:.1%} to {high:.1%})"
            for name, count in counts.items()
            for low, high in [count.interval]
        )
        return "\n".join([*lines, *(f"warning: {each}" for each in self.warnings)])

    __repr__ = __str__


class CheckpointResults(Evaluation):
    """The evaluation of a checkpoint, with the checkpoint's own metadata, which is missing for imported checkpoints."""

    sha256: str
    epoch: int | None = None
    val_clean: float | None = None
    val_robust: float | None = None
    selection_split: Literal["validation", "test"] | None = None


class AttackResults(Strict):
    """results/<study>/attack/<run>.json. It holds no times, hosts or dates, so equal results are equal bytes.

    Attributes:
        parameters: number of trained real parameters of the model.
        model, train: the sections of params.yaml for this run.
        scans: for token attacks at every position, by name: when the model reads each position of the map, from 0
            (start of the sequence) to 1 (end). It is the mean over the position's pixels if they belong to several
            tokens.
        provenance: code, versions and device of the attacks.
        manifest: the manifest of the trained run, with its epochs and the provenance of the training, but without the
            hash of history.csv, which contains times; None for an imported checkpoint.
    """

    format: Literal[2]
    study: str
    run: str
    parameters: Annotated[int, Field(ge=1)]
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
        """Check that the fingerprint belongs to the protocol."""
        if self.protocol_fingerprint != self.protocol.fingerprint():
            raise ValueError("protocol_fingerprint does not agree with the protocol")
        return self


def load_results(path: Path) -> AttackResults:
    """Read the attack results of a run.

    Raises:
        UserError: the file is missing, damaged (its digest or its numbers do not agree with its content), or was
            written by another version; earlier versions wrote no digest. The message names the remedy.
    """
    what, remedy = "attack results", f"run `ssmlab attack {path.stem}`"
    return as_model(read_sealed_json(path, what, remedy), path, AttackResults, what, remedy)


def save_results(path: Path, results: AttackResults) -> None:
    """Write the attack results of a run with a digest of their content.

    Raises:
        UserError: the disk is full, or the file cannot be written.
    """
    write_atomic(path, sealed_json(results.plain()))


def worst_case(measures: Mapping[str, Measure]) -> WorstCase:
    """For each image the worst of all measures in the study's ball, on the images that all measures have."""
    inside = {name: measure for name, measure in measures.items() if measure.patch is None}
    together = min(len(measure.flags) for measure in inside.values())
    right = (1 << together) - 1
    for measure in inside.values():
        right &= int(measure.flags[:together], 2)
    return WorstCase.of(f"{right:0{together}b}", over=tuple(inside))


def wilson(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) for a proportion of `correct` in `n` >= 1 independent trials."""
    return wilson_at(correct, n, two_sided_z(confidence))


def two_sided_z(confidence: float) -> float:
    """The number of standard deviations that a normal variable stays within, with this confidence."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson_at(correct: int, n: int, z: float) -> tuple[float, float]:
    """`wilson` at `z` standard deviations."""
    p, shrink = correct / n, 1 + z * z / n
    centre = (p + z * z / (2 * n)) / shrink
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / shrink
    # at both ends the exact bound is 0 or 1, but rounding would give a slightly different number
    return (0.0 if correct == 0 else centre - half), (1.0 if correct == n else centre + half)
