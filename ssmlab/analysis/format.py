"""How numbers, models, regimes and attacks are written for readers: in claims, tables, figures and reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssmlab.core.text import listed
from ssmlab.params import MIXERS, AttackSpec, ModelParams, TrainParams

if TYPE_CHECKING:
    from ssmlab.analysis.intervals import Difference
    from ssmlab.data.header import DataProvenance

PROVENANCES: dict[DataProvenance, str] = {
    "official": "the publisher's images, with all training images",
    "partial": "only a part of the publisher's images",
    "re-encoded": "a published data set in another encoding, so its pixels differ from the original",
    "own": "not a published data set that ssmlab knows",
}


def signed(fraction: float) -> str:
    """A difference in percentage points with its sign: 0.2534 is `+25.3`; a value that rounds to zero is `0.0`."""
    text = f"{100 * fraction:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def number(count: int) -> str:
    """103562 is `103,562`."""
    return f"{count:,}"


def deviation(std: float | None) -> str:
    """A standard deviation to follow its mean: 0.0092 is ` ± 0.9`; empty for None."""
    return "" if std is None else f" ± {100 * std:.1f}"


def level(confidence: float) -> str:
    """0.95 is `95%`, 0.999 is `99.9%`."""
    return f"{100 * confidence:.6g}%"


def spoken(difference: Difference, confidence: float) -> str:
    """A difference as text: `+25.3 points (95% interval +22.1 to +28.4, n = 1000)`.

    For groups the end is `n = 3 seeds x 1000 images`, or `n = 3 and 5 seeds x 1000 images`.
    """
    interval = f"{level(confidence)} interval {signed(difference.low)} to {signed(difference.high)}"
    counts = f"{difference.n}"
    if difference.seeds:
        counts = f"{listed(dict.fromkeys(difference.seeds))} seeds x {counts} images"
    return f"{signed(difference.value)} points ({interval}, n = {counts})"


def model_label(model: ModelParams) -> str:
    """A short name for a model: `S4`, `S4 + GELU`, `S4 + AdS (relu)`, `Mega + attention`."""
    parts = [f"{'bidirectional ' if model.bidirectional else ''}{MIXERS[model.mixer].label}"]
    if model.norm == "none":
        parts[0] += " without LayerNorm"
    if model.pointwise == "gelu":
        parts.append("GELU")
    if model.ads is not None:
        one_map = model.ads.parts in ("scale", "bias")
        rest = "" if model.ads.parts == "both" else f", {model.ads.parts}{' only' if one_map else ''}"
        parts.append(f"AdS ({'no activation' if model.ads.act == 'none' else model.ads.act}{rest})")
    if model.enhancement == "attention":
        parts.append("attention")
    if model.output == "glu":
        parts.append("GLU")
    return " + ".join(parts)


def regime_label(train: TrainParams) -> str:
    """A short name for how a model was trained: `standard`, `PGD-7 AT`, `TRADES (beta 6) + AWP, L2, patience 3`."""
    parts = [train.regime_label]
    if train.awp is not None:
        parts.append("AWP")
    if train.averaging is not None:
        parts.append("EMA")
    if train.label_smoothing is not None:
        parts.append("label smoothing")
    l2 = ["L2"] if train.adversarial and train.adversary.norm == "l2" else []
    return ", ".join([" + ".join(parts), *l2, *training_label(train)])


def training_label(train: TrainParams) -> list[str]:
    """The training settings that differ from the usual ones: `cyclic learning rate`, `patience 3`."""
    schedule = train.optimizer.schedule
    rate = [f"{schedule} learning rate"] if schedule != "cosine" else []
    return rate if train.patience is None else [*rate, f"patience {train.patience}"]


def attack_label(name: str, spec: AttackSpec) -> str:
    """An attack with its settings: `pgd-10: PGD, 10 steps of 0.025, random start`."""
    return f"{name}: {spec.label}"
