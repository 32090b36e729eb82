"""The protocol of an evaluation: images, ball and attacks. Only results with equal protocols may be compared."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel

from ssmlab.params import LENGTHS, NORM_NAMES, AttackSpec, Norm, Strict
from ssmlab.params.written_float import WrittenFloat


def canonical_text(value: float) -> str:
    """The text of a radius or step size in results: `0.1`, `8/255`. Equal numbers have equal texts.

    Numbers with four digits or fewer are decimals. Other multiples of 1/255 are fractions. All other numbers are
    written with all their digits.
    """
    text = repr(float(value))
    numerator = round(value * 255)
    if len(text) > 6 and numerator / 255 == value:
        return f"{numerator}/255"
    return text


def canonical_attacks(attacks: dict[str, AttackSpec]) -> dict[str, AttackSpec]:
    """The attacks with step sizes as `canonical_text`, so that equal protocols have equal fingerprints."""
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
    """The attacked images (the first `n` of a split), and the sizes of the splits that trained and selected the model.

    It does not inherit from `Strict`, because its field `fingerprint` would hide the method of that name.

    Attributes:
        indices_hash: hash of the rows of the attacked images in the source.
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
    """eps as text (`canonical_text`) and as a number, in units of pixels in [0, 1]."""

    text: str
    value: float


class Protocol(Strict):
    """How the numbers were measured; only results with equal protocols may be compared."""

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
        """`8/255`, or `0.5 (L2)` for a norm other than L-inf."""
        return eps_text(self.eps, self.norm)


def radius(eps: float) -> Radius:
    """The radius eps as a protocol stores it."""
    return Radius(text=canonical_text(eps), value=float(eps))


def eps_text(eps: Radius, norm: Norm) -> str:
    """`8/255`, or `0.5 (L2)` for a norm other than L-inf."""
    return eps.text if norm == "linf" else f"{eps.text} ({NORM_NAMES[norm]})"
