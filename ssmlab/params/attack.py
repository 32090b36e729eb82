"""The section `attack`: who judges, and on how many images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ssmlab.params.base import Device, ImageCount, PixelEpsilon, Positive, Seed, Strict, Which


class AttackBase(Strict):
    """What every attack says: on how many test images, of which checkpoints."""

    images: ImageCount
    checkpoints: Annotated[tuple[Which, ...], Field(min_length=1, strict=False)]


class FgsmParams(AttackBase):
    """FGSM (Goodfellow et al. 2015): one step of size eps."""

    kind: Literal["fgsm"]


class PgdParams(AttackBase):
    """PGD (Madry et al. 2018)."""

    kind: Literal["pgd"]
    alpha: PixelEpsilon
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


class ScreenedAutoAttackParams(AttackBase):
    """AutoAttack at a lower price: FAB-T and Square attack only the survivors that are nearest to falling.

    APGD-CE and APGD-T attack all images; of those that are left, the `survivors` of the lowest margin under PGD are
    attacked further. It is never called standard AutoAttack, whatever its settings.
    """

    kind: Literal["screened-autoattack"]
    steps: Positive
    queries: Positive
    survivors: ImageCount = 100


AttackSpec = Annotated[
    FgsmParams | PgdParams | AutoAttackParams | ScreenedAutoAttackParams, Field(discriminator="kind")
]


class AttackParams(Strict):
    """The judging attacks. Results are the same for any number of workers: `batch_size` alone cuts the images."""

    device: Device
    eps: PixelEpsilon
    batch_size: Positive
    seed: Seed
    attacks: Annotated[dict[str, AttackSpec], Field(min_length=1)]
