"""How an evaluation was made: the images, the ball and the attacks. Only equal protocols may be compared."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel

from ssmlab.params import LENGTHS, NORM_NAMES, AttackSpec, Norm, Strict
from ssmlab.params.written_float import WrittenFloat


def canonical_text(value: float) -> str:
    """The one way in which results write a radius or a step: `0.1`, `8/255`; equal numbers have equal texts.

    Four digits or fewer stay a decimal; what is a whole number of 255ths becomes a fraction; anything else is written
    with all its digits.
    """
    text = repr(float(value))
    numerator = round(value * 255)
    if len(text) > 6 and numerator / 255 == value:
        return f"{numerator}/255"
    return text


def canonical_attacks(attacks: dict[str, AttackSpec]) -> dict[str, AttackSpec]:
    """The attacks with their step sizes written in the one way, so that equal protocols have equal fingerprints."""
    return {
        name: spec.model_copy(
            update={
                key: WrittenFloat(canonical_text(length))
                for key in LENGTHS
                if (length := getattr(spec, key, None)) is not None
            }
        )
        for name, spec in attacks.items()
    }


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
    """eps as text and as a number, in [0, 1] pixel units; equal numbers have equal texts (`canonical_text`)."""

    text: str
    value: float


class Protocol(Strict):
    """How the numbers came about; only results of equal protocols may stand side by side."""

    data: Data
    norm: Norm
    eps: Radius
    batch_size: int
    seed: int
    attacks: Annotated[dict[str, AttackSpec], AfterValidator(canonical_attacks)]
    torchattacks: str
    device: Literal["cpu", "cuda"]

    @property
    def norm_name(self) -> str:
        """`L-inf` or `L2`."""
        return NORM_NAMES[self.norm]

    @property
    def eps_text(self) -> str:
        """`8/255`; `0.5 (L2)` where the norm is not the usual L-inf."""
        return eps_text(self.eps, self.norm)


def radius(eps: float) -> Radius:
    """eps for a protocol."""
    return Radius(text=canonical_text(eps), value=float(eps))


def eps_text(eps: Radius, norm: Norm) -> str:
    """`8/255`; `0.5 (L2)` where the norm is not the usual L-inf."""
    return eps.text if norm == "linf" else f"{eps.text} ({NORM_NAMES[norm]})"
