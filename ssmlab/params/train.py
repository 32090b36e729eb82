"""The section `train`: regime, adversary, optimizer, selection."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from ssmlab.params.base import Device, Epsilon, Norm, Positive, Seed, Strict, at_most_one
from ssmlab.params.written_float import WrittenFloat

RegimeName = Literal["standard", "pgd_at", "trades", "free", "yopo", "mart", "fgsm", "jacobian"]


Threads = Literal["auto"] | Positive


class AdversaryParams(Strict):
    """A PGD adversary: `steps` steps of size `alpha` in the ball of radius `eps` of `norm`, in [0, 1] pixel units."""

    norm: Norm = "linf"
    eps: Epsilon
    alpha: Epsilon
    steps: Positive
    random_start: bool

    @field_validator("eps", "alpha")
    @classmethod
    def _fits_the_pixel_range(cls, value: WrittenFloat, earlier: ValidationInfo) -> WrittenFloat:
        return at_most_one(value) if earlier.data.get("norm") == "linf" else value


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
    """Adversarial weight perturbation (Wu et al. 2020).

    gamma: its size relative to the weights; 0.005 is usual. warmup: epochs trained without it at first; none if it is
    not said.
    """

    gamma: Annotated[float, Field(ge=0.0)]
    warmup: Positive | None = None


class AveragingParams(Strict):
    """Weight averaging: validated, selected and saved is the moving average with this `decay` a step."""

    decay: Annotated[float, Field(ge=0.0, lt=1.0)]


class TrainParams(Strict):
    """How one run is trained; docs/regimes.md has every regime with its source.

    epochs: how often the training images are gone through, replays included. warmup: epochs over which the training
    adversary's eps and alpha grow from 0 to their full value; 0 for none. patience: training ends when so many epochs
    after the warm-up have brought nothing better in selection. threads: of the CPU, for one run; `auto` depends
    on the model's size (`ssmlab.training.threads`). precision: bf16 attacks in bfloat16; the update, validation and
    everything else stay in float32.
    """

    device: Device
    regime: RegimeName
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
    epochs: Annotated[int, Field(ge=1, le=1_000_000)]
    batch_size: Positive
    adversary: AdversaryParams
    warmup: Annotated[int, Field(ge=0)]
    optimizer: OptimizerParams
    selection: SelectionParams
    augment: AugmentParams
    seed: Seed
    threads: Threads = "auto"
    precision: Literal["bf16"] | None = None

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
        # the attack of trades begins where p and softmax(logits) differ by less than bfloat16 resolves
        if self.precision is not None and self.regime not in ("pgd_at", "mart", "fgsm"):
            raise ValueError("`precision` goes with `regime` pgd_at, mart and fgsm only")
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
