"""The section `attack`: the attacks of the evaluation, and on how many images they run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from ssmlab.params.attack_kinds import AttackSpec
from ssmlab.params.base import Device, Epsilon, Norm, Positive, Seed, Strict, at_most_one
from ssmlab.params.written_float import WrittenFloat

LENGTHS = ("alpha", "eps")  # settings of attacks that are lengths in the norm of the study


class AttackParams(Strict):
    """The judging attacks. Results are the same for any number of workers, because only `batch_size` decides how the
    images are divided.

    Attributes:
        norm: the norm of the ball that all attacks search; its radius is eps.
        binarisation: number of images for the binarisation test of each checkpoint; no test by default.
    """

    device: Device
    norm: Norm = "linf"
    eps: Epsilon
    batch_size: Positive
    seed: Seed
    attacks: Annotated[dict[str, AttackSpec], Field(min_length=1)]
    binarisation: Positive | None = None

    @field_validator("eps")
    @classmethod
    def _eps_fits_the_pixel_range(cls, value: WrittenFloat, earlier: ValidationInfo) -> WrittenFloat:
        return at_most_one(value) if earlier.data.get("norm") == "linf" else value

    @field_validator("attacks")
    @classmethod
    def _steps_fit_the_pixel_range(cls, value: dict[str, AttackSpec], earlier: ValidationInfo) -> dict[str, AttackSpec]:
        problems: list[InitErrorDetails] = []
        for name, spec in value.items() if earlier.data.get("norm") == "linf" else ():
            for key in LENGTHS:
                length = getattr(spec, key, None)
                try:
                    at_most_one(length or WrittenFloat(0))
                except ValueError as error:
                    kind = PydanticCustomError("step", "{reason}", {"reason": str(error)})
                    problems.append(InitErrorDetails(type=kind, loc=(name, spec.kind, key), input=str(length)))
        if problems:
            raise ValidationError.from_exception_data(cls.__name__, problems)
        return value
