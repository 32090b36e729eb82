"""What can be known to be wrong with an evaluation before a model is trained for it. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping

from ssmlab.core.errors import UserError
from ssmlab.data.header import DataSummary, read_data_summary
from ssmlab.params import ApgdParams, AttackSpec, AutoAttackParams, Params, ScreenedAutoAttackParams
from ssmlab.params.paths import Paths

DLR_CLASSES = 4  # AutoAttack's targeted DLR loss divides by a difference that has the fourth largest logit in it
LARGEST_EPS = 1.0  # images lie in [0, 1]: a larger ball holds every image
UNUSUAL_EPS = 0.5  # beyond it every image can be made uniformly grey, so that nothing is left to classify


def check_plan(params: Params, summary: DataSummary) -> None:
    """Refuse a study whose attacks cannot be carried out on its data, before any run is trained.

    Args:
        summary: the prepared data set, which may be older than `params`: what `params` says itself counts more.

    Raises:
        UserError: an attack asks for more images than there are or for more classes, or eps is no radius. The message
            names the key of params.yaml.
    """
    check_eps(params.attack.eps, "params.yaml: attack.eps")
    images = summary.test if params.data.test == "all" else params.data.test
    classes = params.data.classes or summary.description.classes
    check_attacks(params.attack.attacks, images, classes, "params.yaml: attack.attacks.")


def check_plan_on_prepared(params: Params, paths: Paths) -> None:
    """`check_plan` on the prepared data set; nothing if there is none yet, or it is damaged, which `train` reports."""
    try:
        prepared = read_data_summary(paths.prepared)
    except UserError:
        return
    check_plan(params, prepared)


def check_attacks(attacks: Mapping[str, AttackSpec], images: int, classes: int, where: str = "") -> None:
    """Raises UserError for an attack that needs more images or classes than there are; `where` precedes its name."""
    for name, spec in attacks.items():
        check_images_asked(name, spec, images, where)
        if isinstance(spec, AutoAttackParams | ScreenedAutoAttackParams) and classes < DLR_CLASSES:
            raise UserError(
                f"{where}{name}: AutoAttack needs at least {DLR_CLASSES} classes, since its loss uses the fourth "
                f"largest logit, and there are {classes}; attack with PGD instead"
            )
        if isinstance(spec, ApgdParams) and spec.loss == "dlr" and classes < 3:
            raise UserError(
                f"{where}{name}: its loss needs 3 classes, since it uses the third largest logit, and there are "
                f"{classes}; use `loss: ce`"
            )


def check_images_asked(name: str, spec: AttackSpec, images: int, where: str = "") -> None:
    """Raises UserError for an attack on more images than there are."""
    if spec.images != "all" and spec.images > images:
        raise UserError(
            f"{where}{name}: {spec.images} images are asked for, and there are {images}; ask for fewer, or for `all`"
        )


def check_eps(eps: float, what: str = "eps") -> None:
    """Raises UserError for a radius that cannot be meant, in [0, 1] pixel units."""
    if not 0.0 <= eps <= LARGEST_EPS:
        example = f": for {eps:g} of 255 write {eps:g}/255" if 1.0 < eps <= 255.0 else ""
        raise UserError(f"{what} must be in [0, 1], since pixels are; it is {eps:g}{example}")
