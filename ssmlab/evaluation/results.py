"""What an evaluation found, and results/<study>/attack/<run>.json. Nothing here imports torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from ssmlab.core.validation import read_model
from ssmlab.params import AttackSpec, Strict, Which
from ssmlab.params.quantity import Quantity

Interval = Annotated[tuple[float, float], Field(strict=False)]
Words = Annotated[tuple[str, ...], Field(strict=False)]


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
        parts: of AutoAttack only: the accuracy that was left after each part, in order of running.
    """

    standard: bool | None = None
    parts: dict[str, float] | None = None


class WorstCase(Count):
    """Images that are right under every measure in `over`; counted on the images that all of these saw."""

    over: Words


class Evaluation(Strict):
    """All measures of one model: `measures["clean"]`, then one for each attack.

    warnings: what speaks against taking the numbers at face value, a sentence each.
    """

    measures: dict[str, Measure]
    worst_case: WorstCase
    warnings: Words


class CheckpointResults(Evaluation):
    """The evaluation of a checkpoint, and what the checkpoint says of itself; of its training only if it was ours."""

    sha256: str
    epoch: int | None = None
    val_clean: float | None = None
    val_robust: float | None = None
    selection_split: Literal["validation", "test"] | None = None


class Data(BaseModel):
    """Which images were attacked, the first `n` of a split, and how many others trained and selected the model.

    indices_hash names the rows of the attacked images in the source.
    Not a `Strict` by name, whose method `fingerprint` the field would hide.
    """

    model_config = Strict.model_config

    name: str
    fingerprint: str
    split: Literal["test"]
    n: int
    indices_hash: str
    train: int
    validation: int


class Radius(Strict):
    """eps as it was written and as a number, in [0, 1] pixel units."""

    text: str
    value: float


class Protocol(Strict):
    """How the numbers came about; only results of equal protocols may stand side by side."""

    data: Data
    norm: Literal["linf"]
    eps: Radius
    batch_size: int
    seed: int
    attacks: dict[str, AttackSpec]
    torchattacks: str
    device: Literal["cpu", "cuda"]


class AttackResults(Strict):
    """results/<study>/attack/<run>.json. Equal results are equal bytes: it holds no times, hosts or dates."""

    format: Literal[1]
    study: str
    run: str
    parameters: int
    model: dict[str, Any]
    train: dict[str, Any]
    code_version: str
    protocol: Protocol
    protocol_fingerprint: str
    checkpoints: dict[Which, CheckpointResults]

    @model_validator(mode="after")
    def fingerprint_agrees(self) -> Self:
        """The fingerprint is that of the protocol."""
        if self.protocol_fingerprint != self.protocol.fingerprint():
            raise ValueError("protocol_fingerprint is not that of the protocol")
        return self


def load_results(path: Path) -> AttackResults:
    """Read the attack results of a run.

    Raises:
        UserError: the file is missing, is not JSON, or is not what this version writes.
    """
    return read_model(path, AttackResults, "attack results", f"run `ssmlab attack {path.stem}`")


def radius(eps: Quantity) -> Radius:
    """eps for a protocol."""
    return Radius(text=eps.text, value=float(eps))


def worst_case(measures: Mapping[str, Measure]) -> WorstCase:
    """Per image the worst of all measures, on the first images, which all of them saw."""
    together = zip(*(measure.flags for measure in measures.values()), strict=False)
    return WorstCase.of("".join(map(min, together)), over=tuple(measures))


def wilson(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) for a proportion of `correct` in `n` >= 1 independent trials."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p, shrink = correct / n, 1 + z * z / n
    centre = (p + z * z / (2 * n)) / shrink
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / shrink
    # at the ends the exact bound is 0 or 1, which rounding misses
    return (0.0 if correct == 0 else centre - half), (1.0 if correct == n else centre + half)
