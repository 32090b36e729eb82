"""The settings of each kind of judging attack; `attack_kinds.py` has the table of their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ssmlab.core.text import plural
from ssmlab.params.base import Epsilon, ImageCount, Norm, PositionCount, Positive, Strict, Which
from ssmlab.params.written_float import WrittenFloat


@dataclass(frozen=True, slots=True)
class ClassesNeeded:
    """How many classes an attack needs; `why` and `instead` complete the error message if there are fewer."""

    count: int
    why: str = ""
    instead: str = ""


class AttackBase(Strict):
    """The settings of every attack; an attack without settings of its own has only these.

    Attributes:
        kind: its name in the table `ATTACKS`.
        images: number of test images.
        checkpoints: which checkpoints are attacked.
    """

    images: ImageCount
    checkpoints: Annotated[tuple[Which, ...], Field(min_length=1, strict=False)]
    kind: str

    @property
    def label(self) -> str:
        """The attack with its settings, for readers: `FMN, 100 steps, searches the smallest perturbation`."""
        return self.kind

    @property
    def classes_needed(self) -> ClassesNeeded:
        """The smallest number of classes with which the attack is defined."""
        return ClassesNeeded(1)

    @property
    def runs_square(self) -> bool:
        """Whether it runs Square, whose first tiles in L2 must fit into the image."""
        return False


class TokenParams(AttackBase):
    """Changes one patch of an image and nothing else: one token of a model that reads the image in such patches.

    Attributes:
        patch: the side of the patch in pixels; patches tile the image.
        positions: at how many positions each image is attacked: those with the lowest margins after one step. With
            `all`, the result has a map of how many images each position breaks.
        steps: number of steps of PGD on the margin at each of these positions.
        eps: radius of the ball for the patch, in the norm of the study; by default, any values in [0, 1] are allowed.
    """

    kind: Literal["token"]
    patch: Positive
    positions: PositionCount
    steps: Positive
    eps: Epsilon | None = None

    def searched(self, norm: Norm) -> tuple[Norm, WrittenFloat]:
        """The norm and the radius of the ball in which the patch stays; `norm` is that of the study."""
        return ("linf", WrittenFloat(1)) if self.eps is None else (norm, self.eps)

    @property
    def label(self) -> str:
        where = "every position" if self.positions == "all" else f"the {self.positions} best positions"
        far = "to any values in [0, 1]" if self.eps is None else f"within {self.eps}"
        patch = f"one patch of {self.patch} x {self.patch} pixels {far}"
        return f"{patch}, {self.steps} {plural('step', self.steps)} of PGD at {where}"


class FgsmParams(AttackBase):
    """FGSM (Goodfellow et al. 2015): one step of size eps; in L2 along the gradient instead of its sign."""

    kind: Literal["fgsm"]

    @property
    def label(self) -> str:
        return "FGSM, one step of eps"


class PgdParams(AttackBase):
    """PGD (Madry et al. 2018) on the cross entropy, or on the margin (Carlini and Wagner 2017).

    Attributes:
        alpha: length of a step in the norm of the attack.
        restarts: number of random starts; each attacks the images that are not broken yet. One by default.
    """

    kind: Literal["pgd"]
    alpha: Epsilon
    steps: Positive
    random_start: bool
    restarts: Positive | None = None
    loss: Literal["margin"] | None = None

    @model_validator(mode="after")
    def restarts_differ(self) -> Self:
        """Reject restarts without random starts, because they would all be equal."""
        if (self.restarts or 1) > 1 and not self.random_start:
            raise ValueError("restarts need random_start: true; without it every start is the same")
        return self

    @property
    def label(self) -> str:
        start = "random start" if self.random_start else "no random start"
        times = f", {self.restarts} starts" if self.restarts else ""
        loss = " on the margin" if self.loss else ""
        return f"PGD{loss}, {self.steps} {plural('step', self.steps)} of {self.alpha}, {start}{times}"


class ApgdParams(AttackBase):
    """APGD (Croce and Hein 2020) on the cross entropy (`ce`) or on the difference of logits ratio (`dlr`)."""

    kind: Literal["apgd"]
    loss: Literal["ce", "dlr"]
    steps: Positive
    restarts: Positive

    @property
    def classes_needed(self) -> ClassesNeeded:
        dlr = ClassesNeeded(3, "its loss needs 3 classes, because it uses the third largest logit", "use `loss: ce`")
        return dlr if self.loss == "dlr" else super().classes_needed

    @property
    def label(self) -> str:
        return f"APGD-{self.loss.upper()}, {self.steps} steps, {self.restarts} {plural('start', self.restarts)}"


class SquareParams(AttackBase):
    """Square (Andriushchenko et al. 2020), which uses only logits."""

    kind: Literal["square"]
    queries: Positive

    @property
    def runs_square(self) -> bool:
        return True

    @property
    def label(self) -> str:
        return f"Square, {self.queries} queries"


class FmnParams(AttackBase):
    """FMN (Pintor et al. 2021): the smallest distance at which each image is broken, and so accuracy at every eps."""

    kind: Literal["fmn"]
    steps: Positive

    @property
    def label(self) -> str:
        return f"FMN, {self.steps} steps, searches the smallest perturbation"


class EnsembleBase(AttackBase):
    """What AutoAttack needs, whole or screened: its targeted DLR loss uses the fourth largest logit."""

    @property
    def classes_needed(self) -> ClassesNeeded:
        why = "AutoAttack needs at least 4 classes, because its loss uses the fourth largest logit"
        return ClassesNeeded(4, why, "attack with PGD instead")

    @property
    def runs_square(self) -> bool:
        return True


class AutoAttackParams(EnsembleBase):
    """AutoAttack (Croce and Hein 2020): APGD-CE, APGD-T and FAB-T of `steps` steps, and Square of `queries` queries."""

    kind: Literal["autoattack"]
    steps: Positive
    queries: Positive

    @property
    def standard(self) -> bool:
        """Whether these are the published settings; others must not be called standard AutoAttack."""
        return self.steps == 100 and self.queries == 5000

    @property
    def label(self) -> str:
        kind = "standard AutoAttack" if self.standard else "AutoAttack with settings that are not the standard ones"
        return f"{kind} (APGD-CE, APGD-T, FAB-T with {self.steps} steps; Square with {self.queries} queries)"


class ScreenedAutoAttackParams(EnsembleBase):
    """A cheaper AutoAttack: FAB-T and Square attack only the survivors with the lowest margins.

    APGD-CE and APGD-T attack all images. FAB-T and Square then attack only the `survivors` images that are still right
    and have the lowest margins under PGD. It is never called standard AutoAttack, whatever its settings are.
    """

    kind: Literal["screened-autoattack"]
    steps: Positive
    queries: Positive
    survivors: ImageCount = 100

    @property
    def label(self) -> str:
        some = "all survivors" if self.survivors == "all" else f"the {self.survivors} survivors with the lowest margin"
        return (
            f"screened AutoAttack (APGD-CE and APGD-T with {self.steps} steps; FAB-T with {self.steps} steps "
            f"and Square with {self.queries} queries on {some})"
        )
