"""The results of the probes, and the file results/<study>/probe/<run>.json. Nothing here imports torch."""

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
Aim = Literal["loss", "features"]  # what an attack increases
Law = Literal["bounded", "power", "exponential"]
Trend = Literal["grows exponentially", "grows as a power", "bounded", "fades as a power", "fades exponentially"]


class LadderStep(Strict):
    """The error after one component (`ssmlab.probes.ladder` has the formulas).

    Attributes:
        layer: number of the layer, from 1; None outside the layers.
        rho: geometric mean over images.
        amplification: rho of this step divided by rho of the step before; None for the first step.
        kl, mse: means over images.
    """

    component: str
    layer: int | None = None
    rho: float
    amplification: float | None = None
    kl: float
    mse: float


class ErrorLadder(Strict):
    """The error of attacked images at every site, over the `images` images whose error is above 0 at all sites."""

    attack: Aim
    split: SplitName
    images: int
    steps: Annotated[tuple[LadderStep, ...], Field(strict=False)]

    @property
    def total(self) -> float:
        """The amplification of all components together: the product of their amplifications."""
        return self.steps[-1].rho / self.steps[0].rho


class LayerGains(Strict):
    """How much the fixed SSM of one layer can amplify an error (`ssmlab.probes.gains`).

    Attributes:
        peak: the peak gain of every output channel.
        energy, floor: the largest and smallest singular value of evenly spaced channels; None for S5.
        tightness: smallest value, quartiles and largest value of measured error / bound, over images and channels.
        ratios: the same quotients in increasing order: all of them, or their percentiles (0 to 100) if there are more
            than 101; None in files of older versions.
    """

    layer: int
    peak: FloatList
    energy: FloatList | None = None
    floor: FloatList | None = None
    tightness: Quartiles | None = None
    ratios: FloatList | None = None


class GrowthFit(Strict):
    """The fitted growth of an error along the tokens (`ssmlab.probes.growth`).

    Attributes:
        law: the law with the smallest AICc.
        aicc: the AICc of every law.
        rate, low, high: the rate with its 95% interval over images: per token for `exponential`, the exponent for
            `power`, and the rate of the exponential fit for `bounded`.
        residual: root mean square of the residuals, in natural logarithms.
        trend: what the law and its interval mean.
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
        at: index of the perturbed token, from 0.
        profile: geometric mean over images of the error 1, 2, ... tokens later, relative to the perturbation.
        distances, end: distances of perturbed tokens from the last token, and the error in the last token.
        after, over: the fits to `profile` and to `end`; None if errors are zero or there are too few tokens.
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

        One measurement alone does not separate distance from position: in the first, larger distances mean other
        measured tokens; in the second, they mean other perturbed tokens.
        """
        fits = (self.after, self.over)
        return all(fit is not None and fit.trend == "grows exponentially" for fit in fits)


class Certificate(Strict):
    """The eps up to which the combined bounds of all layers certify labels (`ssmlab.probes.bounds`).

    Attributes:
        eps: the certified eps of each image; 0 for images that are classified wrongly.
        half: the largest eps at which at least half of the images are certified; 0 if there is none.
        accuracy: the share of images certified at the adversary's eps.
        vacuous: whether `accuracy` is 0 although some images survive the attack.
    """

    eps: FloatList
    half: float
    accuracy: float
    vacuous: bool


class CheckpointProbes(Strict):
    """The probe results of one checkpoint.

    Attributes:
        clean, robust: accuracy on the probed test images, without an attack and under the loss attack.
        exact: the exact robust accuracy of an affine model; None for other models.
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
    """results/<study>/probe/<run>.json. It holds no times, hosts or dates, so equal results are equal bytes."""

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
        UserError: the file is missing, damaged, or comes from another version. The message names the remedy.
    """
    what, remedy = "probe results", f"run `ssmlab probe {path.stem}`"
    return as_model(read_sealed_json(path, what, remedy), path, ProbeResults, what, remedy)


def save_probes(path: Path, results: ProbeResults) -> None:
    """Write the probe results of a run with a digest of their content.

    Raises:
        UserError: the disk is full, or the file cannot be written.
    """
    write_atomic(path, sealed_json(results.plain()))
