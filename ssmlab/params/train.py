"""The section `train`: regime, adversary, optimizer, selection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ssmlab.core.text import listed
from ssmlab.params.adversary import AdversaryParams, AwpParams, SelectionParams
from ssmlab.params.base import Device, KeyOf, Positive, Seed, Strict, check_own_sections


@dataclass(frozen=True, slots=True)
class RegimeEntry:
    """A regime in the table of regimes.

    Attributes:
        label: its name for readers; `{train}` in it is the section `train` of a run.
        where: `MODULE:NAME` below ssmlab.training.regimes, of a subclass of `Regime` (base.py there).
        usual: the values that the section of its own settings gets if a run changes to this regime.
        adversarial: whether the section `adversary` takes part in training.
        smoothing: whether it has a cross entropy, which `label_smoothing` changes.
        awp: whether it has a step at perturbed weights.
        bf16: whether its attack may be computed in bfloat16.
        single_step: whether it makes one step at a time, so that `adversary.steps` must be 1.
        random_start: what `adversary.random_start` must be; None if both are possible.
    """

    label: str
    where: str
    usual: Mapping[str, Any] = field(default_factory=dict)
    adversarial: bool = True
    smoothing: bool = True
    awp: bool = False
    bf16: bool = False
    single_step: bool = False
    random_start: bool | None = None


# All regimes by their name in `train.regime`. A new one is a file in ssmlab/training/regimes/ and a line here. If it
# has settings of its own, they are a class below and a field of `TrainParams` with the name of the regime.
REGIMES: dict[str, RegimeEntry] = {
    "standard": RegimeEntry("standard", "standard:Standard", adversarial=False),
    "pgd_at": RegimeEntry("PGD-{train.adversary.steps} AT", "pgd_at:PgdAt", awp=True, bf16=True),
    # not bf16: at the start of its attack, p and softmax(logits) differ by less than the resolution of bfloat16
    "trades": RegimeEntry(
        "TRADES (beta {train.trades.beta:g})", "trades:Trades", {"beta": 6.0}, awp=True, random_start=True
    ),
    "free": RegimeEntry(
        "Free-{train.free.replays} AT", "free:Free", {"replays": 4}, single_step=True, random_start=False
    ),
    "yopo": RegimeEntry("YOPO-{train.yopo.propagations}-{train.adversary.steps}", "yopo:Yopo", {"propagations": 5}),
    "mart": RegimeEntry("MART (beta {train.mart.beta:g})", "mart:Mart", {"beta": 5.0}, smoothing=False, bf16=True),
    "fgsm": RegimeEntry(
        "{train.fgsm.variant} AT",
        "fgsm_at:FgsmAt",
        {"noise": 1.0, "clip": True},
        bf16=True,
        single_step=True,
        random_start=True,
    ),
    "jacobian": RegimeEntry(
        "Jacobian (weight {train.jacobian.weight:g})",
        "jacobian:Jacobian",
        {"weight": 0.01, "projections": 1},
        adversarial=False,
    ),
}

Threads = Literal["auto"] | Positive


class OptimizerParams(Strict):
    """AdamW with two groups: the SSM parameters dt, A, B take `ssm_lr` and no weight decay, all others the rest."""

    lr: Annotated[float, Field(gt=0.0)]
    ssm_lr: Annotated[float, Field(gt=0.0)]
    weight_decay: Annotated[float, Field(ge=0.0)]
    schedule: Literal["cosine", "cyclic", "constant"]


class AugmentParams(Strict):
    """Training images are padded by `crop` zero pixels and cropped back at random, and flipped with probability 1/2."""

    crop: Annotated[int, Field(ge=0)]
    flip: bool


class TradesParams(Strict):
    """TRADES (Zhang et al. 2019): `beta` is the paper's 1/lambda, the weight of the robust part; 6 is usual."""

    beta: Annotated[float, Field(ge=0.0)]


class MartParams(Strict):
    """MART (Wang et al. 2020): `beta` is the paper's lambda, the weight of misclassified images; 5 is usual."""

    beta: Annotated[float, Field(ge=0.0)]


class FreeParams(Strict):
    """FreeAT (Shafahi et al. 2019): every batch is replayed `replays` times (the paper's m); it divides the epochs."""

    replays: Positive


class YopoParams(Strict):
    """YOPO-m-n (Zhang et al. 2019): `propagations` is m, through the whole model; n is `adversary.steps`."""

    propagations: Positive


class FgsmAtParams(Strict):
    """Single-step training: noise of `noise` times eps, then one step; the result is clipped to the ball if `clip` is
    true.

    Wong et al. 2020 use noise 1, clip true and alpha 1.25 eps. N-FGSM (de Jorge et al. 2022) uses noise 2, clip false
    and alpha eps.
    """

    noise: Annotated[float, Field(ge=0.0)]
    clip: bool

    @property
    def variant(self) -> str:
        """The name of the published attack that these settings are most like."""
        return "FGSM-RS" if self.clip else "N-FGSM"


class JacobianParams(Strict):
    """Jacobian regularisation (Hoffman et al. 2019): `weight` lambda_JR, `projections` n_proj. 0.01 and 1 are usual."""

    weight: Annotated[float, Field(ge=0.0)]
    projections: Positive


class AveragingParams(Strict):
    """Weight averaging: the moving average with this `decay` per step is validated, selected and saved."""

    decay: Annotated[float, Field(ge=0.0, lt=1.0)]


class TrainParams(Strict):
    """How one run is trained; docs/regimes.md has every regime with its source.

    Attributes:
        epochs: how often each training image is used, including replays.
        warmup: number of epochs in which eps and alpha of the training adversary grow from 0 to their full values; 0
            for no warm-up.
        patience: training ends after this many epochs without a better one, counted after the warm-up.
        threads: number of CPU threads for one run; `auto` depends on the size of the model (`ssmlab.training.threads`).
        precision: with bf16, attacks run in bfloat16; the update, validation and everything else stay in float32.
    """

    device: Device
    regime: Annotated[str, KeyOf(REGIMES)]
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
        """The number of steps with every batch."""
        return 1 if self.free is None else self.free.replays

    @property
    def passes(self) -> int:
        """How often the training images are loaded: epochs over replays, and so the epochs of the history."""
        return self.epochs // self.replays

    @property
    def adversarial(self) -> bool:
        """Whether the training uses `adversary`."""
        return REGIMES[self.regime].adversarial

    @property
    def regime_label(self) -> str:
        """The regime for readers, without additions such as AWP: `TRADES (beta 6)`."""
        return REGIMES[self.regime].label.format(train=self)

    @model_validator(mode="after")
    def _sections_match_their_switch(self) -> Self:
        check_own_sections(self, "regime", REGIMES)
        entry = REGIMES[self.regime]
        if self.awp is not None and not entry.awp:
            able = listed(name for name, each in REGIMES.items() if each.awp)
            raise ValueError(f"`awp` works only with `regime` {able}")
        if self.precision is not None and not entry.bf16:
            able = listed(name for name, each in REGIMES.items() if each.bf16)
            raise ValueError(f"`precision` works only with `regime` {able}")
        if self.label_smoothing is not None and not entry.smoothing:
            raise ValueError(f"`label_smoothing` has no meaning in `regime` {self.regime}, which has no cross entropy")
        return self

    @model_validator(mode="after")
    def _adversary_suits_the_regime(self) -> Self:
        entry, start = REGIMES[self.regime], self.adversary.random_start
        if entry.single_step and self.adversary.steps != 1:
            raise ValueError(f"`regime` {self.regime} attacks with one step: set `adversary.steps` to 1")
        if entry.random_start is False and start:
            raise ValueError(f"`regime` {self.regime} does not start at random: set `adversary.random_start` to false")
        if entry.random_start and not start:
            raise ValueError(f"`regime` {self.regime} starts from noise: set `adversary.random_start` to true")
        if self.epochs % self.replays:
            raise ValueError(f"`free.replays` {self.replays} must divide `epochs` {self.epochs}")
        return self
