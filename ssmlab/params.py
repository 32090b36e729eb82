"""What can be said about a study: params.yaml as strict, frozen models. `ssmlab.study` reads the file."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from ssmlab.errors import UserError
from ssmlab.files import canonical_json, sha256_text
from ssmlab.quantity import Quantity

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


def not_negative(value: Quantity) -> Quantity:
    """The pydantic check of a radius or a step size."""
    if value < 0:
        raise ValueError("must not be negative")
    return value


def some_or_all(value: Any) -> Any:
    """The pydantic check of a number of images."""
    if value != "all" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError("must be a number of images, at least 1, or all")
    return value


def unsaid_if_false(value: Any) -> Any:
    """A switch that is off is the same as one left out, so that one model has one fingerprint."""
    return None if value is False else value


Images = Annotated[int | Literal["all"], BeforeValidator(some_or_all)]
Epsilon = Annotated[Quantity, AfterValidator(not_negative)]
Positive = Annotated[int, Field(ge=1)]
Device = Literal["auto", "cpu", "cuda"]
Which = Literal["best", "last"]
CONVOLUTIONS = ("s4", "s4d", "dss")  # the mixers that are one convolution kernel a channel
Norm = Literal["linf", "l2"]
Regime = Literal["standard", "pgd_at", "trades", "free", "yopo", "mart", "fgsm", "jacobian"]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Strict(BaseModel):
    """Unknown keys, missing keys and values of the wrong type are errors; nothing can be changed once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def plain(self) -> dict[str, Any]:
        """The JSON value of this section: what goes into checkpoints and results, and can be validated again."""
        return self.model_dump(mode="json", exclude_none=True)

    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON of this section: equal settings, equal fingerprint."""
        return sha256_text(canonical_json(self.plain()))


class PrepareParams(Strict):
    """Which images, and how they are split into training, validation and test."""

    dataset: Literal["mnist5k"]
    validation: Positive
    test: Positive
    seed: Seed


class AdsParams(Strict):
    """Adaptive scaling (Qi et al. 2024, eq. 9): y <- act(W_s y + b_s) * y + act(W_b y + b_b)."""

    act: Literal["relu", "sigmoid", "tanh"]
    parts: Literal["both", "scale", "bias"]


class S4dParams(Strict):
    """What S4D leaves open (Gu et al. 2022, "On the Parameterization and Initialization of Diagonal SSMs").

    discretisation: zero-order hold or bilinear; initial: the eigenvalues A starts at, S4D-Lin or S4D-Inv.
    """

    discretisation: Literal["zoh", "bilinear"]
    initial: Literal["lin", "inv"]


class MegaParams(Strict):
    """Sizes inside a Mega layer (Ma et al. 2023); `d_model` comes from the model.

    z: width of the shared representation behind queries and keys; hidden: width of the values and of the gate;
    ffn: width of the normalised feed-forward network; ema: dimensions of the damped EMA a channel.
    """

    z: Positive
    hidden: Positive
    ffn: Positive
    ema: Positive


class ModelParams(Strict):
    """One model, whole: what `ssmlab.nets.build` needs besides the image shape and the number of classes.

    tokens: `raster` is the pixel order of the paper's text; `published` the order its code produces (for C > 1 a token
    is then C neighbouring values of one colour plane). pointwise and output: what follows the SSM; `none` and `linear`
    reproduce the published code. docs/deviations.md has the evidence for each. d_state: the state's size (see
    docs/models.md for what each mixer counts). bidirectional: a second kernel runs from the last token to the first.
    """

    mixer: Literal["s4", "s4d", "dss", "s5", "mamba", "mega"]
    enhancement: Literal["none", "ads", "attention"]
    ads: AdsParams | None = None
    s4d: S4dParams | None = None
    mega: MegaParams | None = None
    bidirectional: Annotated[bool | None, BeforeValidator(unsaid_if_false)] = None
    tokens: Literal["raster", "published"]
    patch: Positive
    d_model: Positive
    d_state: Annotated[int, Field(ge=2, multiple_of=2)]
    layers: Positive
    pointwise: Literal["none", "gelu"]
    output: Literal["linear", "glu"]
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)]

    @model_validator(mode="after")
    def _sections_match_their_switch(self) -> Self:
        if (self.enhancement == "ads") != (self.ads is not None):
            raise ValueError("a section `ads` is needed exactly when `enhancement` is ads")
        if (self.mixer == "s4d") != (self.s4d is not None):
            raise ValueError("a section `s4d` is needed exactly when `mixer` is s4d")
        if (self.mixer == "mega") != (self.mega is not None):
            raise ValueError("a section `mega` is needed exactly when `mixer` is mega")
        if self.bidirectional and self.mixer not in CONVOLUTIONS:
            raise ValueError(f"`bidirectional` is for the convolutional mixers ({', '.join(CONVOLUTIONS)})")
        return self


class AdversaryParams(Strict):
    """A PGD adversary: `steps` steps of size `alpha` in the ball of radius `eps` of `norm`, in [0, 1] pixel units."""

    norm: Norm = "linf"
    eps: Epsilon
    alpha: Epsilon
    steps: Positive
    random_start: bool


class OptimizerParams(Strict):
    """AdamW with two groups: the SSM parameters dt, A, B take `ssm_lr` and no weight decay, all others the rest."""

    lr: Annotated[float, Field(gt=0.0)]
    ssm_lr: Annotated[float, Field(gt=0.0)]
    weight_decay: Annotated[float, Field(ge=0.0)]
    schedule: Literal["cosine", "cyclic", "constant"]


class SelectionParams(Strict):
    """Which epoch becomes the `best` checkpoint.

    split: `validation` is held out of training; `test` reproduces the paper's protocol and is marked in the report.
    by: the accuracy that decides; the other one breaks ties. adversary: the attack behind the robust accuracy.
    """

    split: Literal["validation", "test"]
    by: Literal["robust", "clean"]
    adversary: AdversaryParams

    def score(self, clean: float, robust: float) -> tuple[float, float]:
        """What is compared between epochs, higher is better: the accuracy that decides, then the other."""
        return (robust, clean) if self.by == "robust" else (clean, robust)


class AugmentParams(Strict):
    """Training images are padded by `crop` zero pixels and cropped back at random, and flipped with probability 1/2."""

    crop: Annotated[int, Field(ge=0)]
    flip: bool


class TradesParams(Strict):
    """TRADES (Zhang et al. 2019): `beta` is the paper's 1/lambda, the weight of the robust part; 6 is usual."""

    beta: Annotated[float, Field(ge=0.0)]


class MartParams(Strict):
    """MART (Wang et al. 2020): `beta` is the paper's lambda, the weight of the misclassified; 5 is usual."""

    beta: Annotated[float, Field(ge=0.0)]


class FreeParams(Strict):
    """FreeAT (Shafahi et al. 2019): every batch is replayed `replays` times, which divide the epochs; m there."""

    replays: Positive


class YopoParams(Strict):
    """YOPO-m-n (Zhang et al. 2019): `propagations` is m, through the whole model; n is `adversary.steps`."""

    propagations: Positive


class FgsmAtParams(Strict):
    """Single-step training: noise of `noise` times eps first, then one step, cut back to the ball if `clip`.

    Wong et al. 2020 is noise 1, clip true and alpha 1.25 eps; N-FGSM (de Jorge et al. 2022) noise 2, clip false and
    alpha eps.
    """

    noise: Annotated[float, Field(ge=0.0)]
    clip: bool


class JacobianParams(Strict):
    """Jacobian regularisation (Hoffman et al. 2019): `weight` lambda_JR, `projections` n_proj. 0.01 and 1 are usual."""

    weight: Annotated[float, Field(ge=0.0)]
    projections: Positive


class AwpParams(Strict):
    """Adversarial weight perturbation (Wu et al. 2020): `gamma` is its size relative to the weights; 0.005 is usual."""

    gamma: Annotated[float, Field(ge=0.0)]


class AveragingParams(Strict):
    """Weight averaging: validated, selected and saved is the moving average with this `decay` a step."""

    decay: Annotated[float, Field(ge=0.0, lt=1.0)]


class TrainParams(Strict):
    """How one run is trained; docs/regimes.md has every regime with its source.

    epochs: how often the training images are gone through, replays included. warmup: epochs over which the training
    adversary's eps and alpha grow from 0 to their full value; 0 for none. patience: training ends when so many epochs
    after the warm-up have brought nothing better in selection.
    """

    device: Device
    regime: Regime
    trades: TradesParams | None = None
    free: FreeParams | None = None
    yopo: YopoParams | None = None
    mart: MartParams | None = None
    fgsm: FgsmAtParams | None = None
    jacobian: JacobianParams | None = None
    awp: AwpParams | None = None
    averaging: AveragingParams | None = None
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    patience: Positive | None = None
    epochs: Positive
    batch_size: Positive
    adversary: AdversaryParams
    warmup: Annotated[int, Field(ge=0)]
    optimizer: OptimizerParams
    selection: SelectionParams
    augment: AugmentParams
    seed: Seed

    @property
    def replays(self) -> int:
        """How many steps are made with every batch."""
        return 1 if self.free is None else self.free.replays

    @property
    def passes(self) -> int:
        """How often the training images are loaded: epochs over replays, and so the epochs of the history."""
        return self.epochs // self.replays

    @property
    def adversarial(self) -> bool:
        """Whether `adversary` takes part in training at all."""
        return self.regime not in ("standard", "jacobian")

    @model_validator(mode="after")
    def _sections_match_their_switch(self) -> Self:
        for regime in ("trades", "free", "yopo", "mart", "fgsm", "jacobian"):
            if (self.regime == regime) != (getattr(self, regime) is not None):
                raise ValueError(f"a section `{regime}` is needed exactly when `regime` is {regime}")
        if self.awp is not None and self.regime not in ("pgd_at", "trades"):
            raise ValueError("`awp` goes with `regime` pgd_at and trades only")
        if self.label_smoothing is not None and self.regime == "mart":
            raise ValueError("`label_smoothing` has no meaning in `regime` mart, which has no cross entropy")
        return self

    @model_validator(mode="after")
    def _adversary_suits_the_regime(self) -> Self:
        if self.regime in ("free", "fgsm") and self.adversary.steps != 1:
            raise ValueError(f"`regime` {self.regime} makes one step at a time: set `adversary.steps` to 1")
        if self.regime == "free" and self.adversary.random_start:
            raise ValueError("`regime` free starts from the last batch's delta: set `adversary.random_start` to false")
        if self.regime in ("trades", "fgsm") and not self.adversary.random_start:
            raise ValueError(f"`regime` {self.regime} starts from noise: set `adversary.random_start` to true")
        if self.epochs % self.replays:
            raise ValueError(f"`free.replays` {self.replays} must divide `epochs` {self.epochs}")
        return self


class RunParams(Strict):
    """One run of a study: the shared `model` and `train` sections with the run's own changes laid over them."""

    model: ModelParams
    train: TrainParams


class AttackBase(Strict):
    """What every attack says: on how many test images, of which checkpoints."""

    images: Images
    checkpoints: Annotated[tuple[Which, ...], Field(min_length=1, strict=False)]


class FgsmParams(AttackBase):
    """FGSM (Goodfellow et al. 2015): one step of size eps."""

    kind: Literal["fgsm"]


class PgdParams(AttackBase):
    """PGD (Madry et al. 2018)."""

    kind: Literal["pgd"]
    alpha: Epsilon
    steps: Positive
    random_start: bool


class AutoAttackParams(AttackBase):
    """AutoAttack (Croce and Hein 2020): APGD-CE, APGD-T and FAB-T of `steps` steps, and Square of `queries` queries."""

    kind: Literal["autoattack"]
    steps: Positive
    queries: Positive

    @property
    def standard(self) -> bool:
        """Whether these are the published settings; others must not be called standard AutoAttack."""
        return self.steps == 100 and self.queries == 5000


AttackSpec = Annotated[FgsmParams | PgdParams | AutoAttackParams, Field(discriminator="kind")]


class AttackParams(Strict):
    """The judging attacks. Results are the same for any number of workers: `batch_size` alone cuts the images."""

    device: Device
    eps: Epsilon
    batch_size: Positive
    seed: Seed
    attacks: Annotated[dict[str, AttackSpec], Field(min_length=1)]


class ClaimParams(Strict):
    """A sentence to be judged by the numbers: `run` is higher than `than` in every one of `measures`.

    measures: `clean` or the name of an attack, each of the best checkpoint, or `ro_gap:NAME` (best minus last robust
    accuracy under attack NAME).
    """

    says: str
    run: str
    than: str
    measures: Annotated[tuple[str, ...], Field(min_length=1, strict=False)]


class AnalyzeParams(Strict):
    """What the analysis concludes, and how sure it must be: `confidence` is the level of every interval."""

    confidence: Annotated[float, Field(gt=0.5, lt=1.0)]
    claims: Annotated[tuple[ClaimParams, ...], Field(strict=False)]


class ReportParams(Strict):
    """How the report is headed."""

    title: str


class Params(Strict):
    """A whole study: params.yaml, with every run resolved."""

    study: str
    prepare: PrepareParams
    runs: Annotated[dict[str, RunParams], Field(min_length=1)]
    attack: AttackParams
    analyze: AnalyzeParams
    report: ReportParams

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        for name in (self.study, *self.runs, *self.attack.attacks):
            if not NAME.fullmatch(name):
                raise ValueError(f"'{name}' cannot be a name: use lower-case letters, digits, '.', '_' and '-'")
        if "clean" in self.attack.attacks:
            raise ValueError("no attack can be named 'clean': that is the accuracy without one")
        for claim in self.analyze.claims:
            for run in (claim.run, claim.than):
                if run not in self.runs:
                    raise ValueError(f"analyze.claims: '{run}' is not a run (runs: {', '.join(self.runs)})")
            for measure in claim.measures:
                if measure.removeprefix("ro_gap:") not in (*self.attack.attacks, "clean"):
                    known = ", ".join(["clean", *self.attack.attacks, "ro_gap:<attack>"])
                    raise ValueError(f"analyze.claims: '{measure}' is not a measure ({known})")
        return self

    def run(self, name: str) -> RunParams:
        """The run called `name`; raises UserError that lists the runs there are."""
        if name not in self.runs:
            raise UserError(f"no run '{name}' in study {self.study} (runs: {', '.join(self.runs)})")
        return self.runs[name]
