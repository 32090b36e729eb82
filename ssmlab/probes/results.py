"""What the probes found, and results/<study>/probe/<run>.json. Nothing here imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ssmlab.artifacts.manifest import Manifest
from ssmlab.artifacts.provenance import Provenance
from ssmlab.core.digest import read_sealed_json, sealed_json
from ssmlab.core.files import write_atomic
from ssmlab.core.validation import as_model
from ssmlab.params import ProbeParams, Strict, Which

FloatList = Annotated[tuple[float, ...], Field(strict=False)]
ProbeDistances = Annotated[tuple[int, ...], Field(strict=False)]
Quartiles = Annotated[tuple[float, float, float, float, float], Field(strict=False)]
SplitName = Literal["train", "test"]
Aim = Literal["loss", "features"]  # what an attack raises
Law = Literal["bounded", "power", "exponential"]
Trend = Literal["grows exponentially", "grows as a power", "bounded", "fades as a power", "fades exponentially"]


class LadderStep(Strict):
    """The error after one component (`ssmlab.probes.ladder` has the formulas).

    Attributes:
        layer: from 1; None outside the layers.
        rho: geometric mean over images.
        amplification: rho here over rho before; None at the first step.
        kl, mse: means over images.
    """

    component: str
    layer: int | None = None
    rho: float
    amplification: float | None = None
    kl: float
    mse: float


class ErrorLadder(Strict):
    """The error of attacked images at every site, over those of `images` whose error is above 0 everywhere."""

    attack: Aim
    split: SplitName
    images: int
    steps: Annotated[tuple[LadderStep, ...], Field(strict=False)]

    @property
    def total(self) -> float:
        """The amplification of all components together: the product of theirs."""
        return self.steps[-1].rho / self.steps[0].rho


class LayerGains(Strict):
    """What the fixed SSM of one layer can make of an error (`ssmlab.probes.gains`).

    Attributes:
        peak: of every output channel; for convolutions |k|_1, largest where the kernel runs both ways.
        energy, floor: largest and smallest singular value, of channels evenly spread; None of S5.
        tightness: smallest, quartiles and largest of measured error over bound, over images and channels.
    """

    layer: int
    peak: FloatList
    energy: FloatList | None = None
    floor: FloatList | None = None
    tightness: Quartiles | None = None


class GrowthFit(Strict):
    """Which law an error follows along the tokens (`ssmlab.probes.growth`).

    Attributes:
        law: the one of the smallest AICc; `aicc` has those of all.
        rate, low, high: of the law, with its 95% interval over images: a token for `exponential`, a factor e of
            distance for `power`, of the exponential law where `bounded` won.
        residual: root mean square of what the law leaves, in natural logarithms.
    """

    law: Law
    aicc: dict[Law, float]
    rate: float
    low: float
    high: float
    residual: float
    trend: Trend


class Growth(Strict):
    """The error after one perturbed token, of one layer's mixer or of all layers together.

    Attributes:
        system: "layer 1", ..., "all layers".
        at: the perturbed token, from 0.
        profile: geometric mean over images of the error 1, 2, ... tokens later, in units of the perturbation.
        distances, end: the error in the last token for tokens perturbed so far before it.
        after: the law of the profile; over: that of `end`. None if errors vanish, or tokens are too few.
    """

    system: str
    at: int
    profile: FloatList
    after: GrowthFit | None = None
    distances: ProbeDistances
    end: FloatList
    over: GrowthFit | None = None

    @property
    def explodes(self) -> bool:
        """Whether the error grows exponentially in both measurements.

        One alone does not separate distance from place: the first looks at other tokens the further it goes, the second
        perturbs others.
        """
        fits = (self.after, self.over)
        return all(fit is not None and fit.trend == "grows exponentially" for fit in fits)


class Certificate(Strict):
    """Up to which eps the bounds of all layers together certify labels (`ssmlab.probes.bounds`).

    Attributes:
        eps: of each image, 0 for those that are classified wrongly.
        half: the largest eps at which at least half of the images are certified, 0 if there is none.
        accuracy: share certified at the adversary's eps; vacuous: whether that is none although attacks leave some.
    """

    eps: FloatList
    half: float
    accuracy: float
    vacuous: bool


class CheckpointProbes(Strict):
    """What was found in one checkpoint.

    Attributes:
        clean, robust: accuracy on the probed test images, and under the loss attack.
        exact: of an affine model, its exact robust accuracy; None of others.
    """

    sha256: str
    epoch: int | None = None
    clean: float
    robust: float
    exact: float | None = None
    ladders: Annotated[tuple[ErrorLadder, ...], Field(strict=False)]
    gains: Annotated[tuple[LayerGains, ...], Field(strict=False)] = ()
    certificate: Certificate | None = None
    growth: Annotated[tuple[Growth, ...], Field(strict=False)]


class ProbeResults(Strict):
    """results/<study>/probe/<run>.json. Equal results are equal bytes: it holds no times, hosts or dates."""

    format: Literal[1]
    study: str
    run: str
    model: dict[str, Any]
    train: dict[str, Any]
    data_fingerprint: str
    probe: ProbeParams
    images: dict[SplitName, int]
    code_version: str
    checkpoints: dict[Which, CheckpointProbes]
    provenance: Provenance | None = None
    manifest: Manifest | None = None


def load_probes(path: Path) -> ProbeResults:
    """Read the probe results of a run.

    Raises:
        UserError: the file is missing, damaged, or not what this version writes. The message has the remedy.
    """
    what, remedy = "probe results", f"run `ssmlab probe {path.stem}`"
    return as_model(read_sealed_json(path, what, remedy), path, ProbeResults, what, remedy)


def save_probes(path: Path, results: ProbeResults) -> None:
    """Write the probe results of a run with a digest of their content; raises UserError if the disk is full."""
    write_atomic(path, sealed_json(results.plain()))
