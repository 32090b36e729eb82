"""The section `attack`: who judges, and on how many images."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from ssmlab.params.base import (
    Device,
    Epsilon,
    ImageCount,
    Norm,
    PositionCount,
    Positive,
    Seed,
    Strict,
    Which,
    at_most_one,
)
from ssmlab.params.written_float import WrittenFloat


class AttackBase(Strict):
    """What every attack says: on how many test images, of which checkpoints."""

    images: ImageCount
    checkpoints: Annotated[tuple[Which, ...], Field(min_length=1, strict=False)]


class TokenParams(AttackBase):
    """Changes one patch of an image and nothing else: one token of a model that reads the image in such patches.

    Attributes:
        patch: the side of the patch in pixels; patches tile the image.
        positions: at how many positions it attacks each image, those of lowest margin after one step; at all of them
            it gives a map of how many images each position breaks.
        steps: of PGD on the margin at each of these positions.
        eps: how far the values in the patch may go, in the norm of the study; anywhere in [0, 1] if it is not said.
    """

    kind: Literal["token"]
    patch: Positive
    positions: PositionCount
    steps: Positive
    eps: Epsilon | None = None

    def searched(self, norm: Norm) -> tuple[Norm, WrittenFloat]:
        """The norm and the radius of the ball that the values in the patch stay in; `norm` is that of the study."""
        return ("linf", WrittenFloat(1)) if self.eps is None else (norm, self.eps)


class FgsmParams(AttackBase):
    """FGSM (Goodfellow et al. 2015): one step of size eps; in L2 along the gradient instead of its sign."""

    kind: Literal["fgsm"]


class PgdParams(AttackBase):
    """PGD (Madry et al. 2018) on the cross entropy, or on the margin as Carlini and Wagner (2017) have it.

    Attributes:
        alpha: length of a step in the norm of the attack.
        restarts: how often it starts anew on the images that are left; once if it is not said.
    """

    kind: Literal["pgd"]
    alpha: Epsilon
    steps: Positive
    random_start: bool
    restarts: Positive | None = None
    loss: Literal["margin"] | None = None

    @model_validator(mode="after")
    def restarts_differ(self) -> Self:
        """Only random starts differ from each other."""
        if (self.restarts or 1) > 1 and not self.random_start:
            raise ValueError("restarts need random_start: true; without it every start is the same")
        return self


class ApgdParams(AttackBase):
    """APGD (Croce and Hein 2020) on the cross entropy (`ce`) or on the difference of logits ratio (`dlr`)."""

    kind: Literal["apgd"]
    loss: Literal["ce", "dlr"]
    steps: Positive
    restarts: Positive


class SquareParams(AttackBase):
    """Square (Andriushchenko et al. 2020), which asks for logits only."""

    kind: Literal["square"]
    queries: Positive


class FmnParams(AttackBase):
    """FMN (Pintor et al. 2021): the smallest distance at which each image is broken, hence accuracy at every eps."""

    kind: Literal["fmn"]
    steps: Positive


class AutoAttackParams(AttackBase):
    """AutoAttack (Croce and Hein 2020): APGD-CE, APGD-T and FAB-T of `steps` steps, and Square of `queries` queries."""

    kind: Literal["autoattack"]
    steps: Positive
    queries: Positive

    @property
    def standard(self) -> bool:
        """Whether these are the published settings; others must not be called standard AutoAttack."""
        return self.steps == 100 and self.queries == 5000


class ScreenedAutoAttackParams(AttackBase):
    """AutoAttack at a lower price: FAB-T and Square attack only the survivors that are nearest to falling.

    APGD-CE and APGD-T attack all images; of those that are left, the `survivors` of the lowest margin under PGD are
    attacked further. It is never called standard AutoAttack, whatever its settings.
    """

    kind: Literal["screened-autoattack"]
    steps: Positive
    queries: Positive
    survivors: ImageCount = 100


AttackSpec = Annotated[  # from the weakest kind to the strongest, the order in which tables show them
    TokenParams
    | FgsmParams
    | SquareParams
    | FmnParams
    | PgdParams
    | ApgdParams
    | ScreenedAutoAttackParams
    | AutoAttackParams,
    Field(discriminator="kind"),
]


LENGTHS = ("alpha", "eps")  # the settings of attacks that are lengths in the norm of the study
ATTACK_KINDS = tuple(get_args(spec.model_fields["kind"].annotation)[0] for spec in get_args(get_args(AttackSpec)[0]))


class AttackParams(Strict):
    """The judging attacks. Results are the same for any number of workers: `batch_size` alone cuts the images.

    Attributes:
        norm: of the ball that all attacks search, whose radius is eps.
        binarisation: on how many images each checkpoint is put to the binarisation test; none if it is not said.
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
