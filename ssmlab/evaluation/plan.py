"""Finds errors in the settings of an evaluation before a model is trained. Nothing here imports torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import get_args

from ssmlab.core.errors import UserError
from ssmlab.data.header import DataSummary, read_data_summary
from ssmlab.evaluation.token_map import patch_grid
from ssmlab.params import AttackSpec, Norm, Params, TokenParams
from ssmlab.params.paths import Paths

UNUSUAL_SHARE = 0.5  # of `largest_eps`; with a larger radius, every image can become grey
SQUARE_TILES = 5  # per side, at the start of Square in L2


def largest_eps(norm: Norm, pixels: int) -> float:
    """The largest distance between two images with `pixels` values in [0, 1]."""
    return 1.0 if norm == "linf" else math.sqrt(pixels)


def check_plan(params: Params, summary: DataSummary) -> None:
    """Reject a study whose attacks cannot run on its data, before any run is trained.

    Args:
        summary: the prepared data set. It may be older than `params`, so values in `params` have priority.

    Raises:
        UserError: an attack needs more images or classes than there are, or eps is not valid. The message names the key
            in params.yaml.
    """
    check_ball(params.attack.eps, params.attack.norm, summary.image_shape, "params.yaml: attack.eps")
    check_sides(params.attack.attacks, params.attack.norm, summary.image_shape, "params.yaml: attack.attacks.")
    images = summary.test if params.data.test == "all" else params.data.test
    classes = params.data.classes or summary.description.classes
    check_attacks(params.attack.attacks, images, classes, "params.yaml: attack.attacks.")


def check_plan_on_prepared(params: Params, paths: Paths) -> None:
    """`check_plan` with the prepared data set; does nothing if it is missing or damaged (`train` reports that)."""
    try:
        prepared = read_data_summary(paths.prepared)
    except UserError:
        return
    check_plan(params, prepared)


def check_attacks(attacks: Mapping[str, AttackSpec], images: int, classes: int, where: str = "") -> None:
    """Check that there are enough images and classes for every attack.

    Args:
        where: text before the attack's name in messages.

    Raises:
        UserError: an attack needs more images or classes.
    """
    for name, spec in attacks.items():
        check_images_asked(name, spec, images, where)
        needed = spec.classes_needed
        if classes < needed.count:
            raise UserError(f"{where}{name}: {needed.why}, but there are {classes}; {needed.instead}")


def check_images_asked(name: str, spec: AttackSpec, images: int, where: str = "") -> None:
    """Raise UserError for an attack on more images than there are."""
    if spec.images != "all" and spec.images > images:
        raise UserError(
            f"{where}{name}: {spec.images} images are requested, but there are {images}; request fewer, or `all`"
        )


def check_ball(eps: float, norm: str, image_shape: Sequence[int], what: str = "eps") -> None:
    """Raise UserError for an unknown norm or an invalid radius, in units of pixels in [0, 1]."""
    if norm not in get_args(Norm):
        raise UserError(f"norm must be one of {', '.join(get_args(Norm))}; it is {norm!r}")
    if norm == "l2":
        largest = largest_eps("l2", math.prod(image_shape))
        if not 0.0 <= eps <= largest:
            raise UserError(
                f"{what} must be in [0, {largest:.3g}], the largest L2 distance between two images of "
                f"{sizes_text(image_shape)}; it is {eps:g}"
            )
    elif not 0.0 <= eps <= 1.0:
        example = f": for {eps:g} of 255 write {eps:g}/255" if 1.0 < eps <= 255.0 else ""
        raise UserError(f"{what} must be in [0, 1], the range of pixels; it is {eps:g}{example}")


def check_sides(attacks: Mapping[str, AttackSpec], norm: str, image_shape: Sequence[int], where: str = "") -> None:
    """Check that Square in L2 and token attacks fit the size of the images.

    Raises:
        UserError: the images are too small for Square in L2, the patches of a token attack do not tile the image, or
            its eps is not valid.
    """
    for name, spec in attacks.items():
        if isinstance(spec, TokenParams):
            patch_grid(spec.patch, image_shape, f"{where}{name}.patch")
            if spec.eps is not None:
                check_ball(spec.eps, norm, image_shape, f"{where}{name}.eps")
        if norm == "l2" and spec.runs_square and not square_tiles_fit(*image_shape[-2:]):
            raise UserError(
                f"{where}{name}: Square in L2 has no start on images of {sizes_text(image_shape)}, which its tiles do "
                "not fit into; attack with PGD, APGD or FMN instead"
            )


def square_tiles_fit(height: int, width: int) -> bool:
    """Whether the first tiles of Square in L2 lie inside the image, as the published code lays them.

    The published code expects square images. The side of a tile is a fifth of the side of the image. The code lays as
    many tiles as fit from edge to edge, but the first tile begins where a row of five centred tiles would begin. With
    sides of 12, 14, 18, 19 and 24 pixels, the last tile therefore sticks out of the image, which stops the attack.
    """
    side = height // SQUARE_TILES
    if side == 0 or width != height:
        return False
    first = (height - SQUARE_TILES * side) // 2
    return side == 1 or first + side * (height // side) <= height


def sizes_text(image_shape: Sequence[int]) -> str:
    """`1 x 28 x 28`."""
    return " x ".join(map(str, image_shape))
