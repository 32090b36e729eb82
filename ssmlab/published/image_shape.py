"""The size of the images that a published model takes, as far as its tensors determine it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from torch import Tensor

from ssmlab.core.errors import UserError
from ssmlab.nets.s4 import power_of_two
from ssmlab.published.model_sizes import FIRST, LAYER, axis_size


def published_image_shape(state: Mapping[str, Tensor], side: int | None) -> tuple[int, int, int]:
    """(C, H, W) of the square images that a published model takes; `side` is H = W if the user has given it.

    Only Mega's tensors determine H W (2 H W - 1 position biases). S4's give the power of two that H W was rounded up
    to, which limits `side` to a range; the other models' tensors say nothing about it.

    Raises:
        UserError: `side` is needed and not given, or contradicts the tensors.
    """
    channels = axis_size(state, "input.weight", 1, of=2)
    table = FIRST + "layers.0.mega_layer.rel_pos_bias.rel_pos_bias"
    stored = {stored_length(name, state[name]) for name in state if re.fullmatch(LAYER + r"kernel\.kernel\.L", name)}
    if table in state:
        found = mega_side(state[table].numel())
        if side not in (None, found):
            raise UserError(f"its position biases are for images of {found} x {found} pixels, not {side} x {side}")
        return channels, found, found
    fit = f"; its S4 was made for {range_text(max(stored))}" if stored else ""
    if side is None:
        raise UserError(f"its tensors do not show the size of its images: give --image-size N, for N x N pixels{fit}")
    if stored and stored != {power_of_two(side * side)}:
        raise UserError(
            f"its S4 stores C for L = {', '.join(map(str, sorted(stored)))}, not for --image-size {side}{fit}"
        )
    if not stored and FIRST + "kernel.kernel.w_imag" in state:
        raise UserError(f"{FIRST}kernel.kernel.L, the length that its C is stored for, is missing")
    return channels, side, side


def stored_length(name: str, tensor: Tensor) -> int:
    """The length in S4's buffer `L`."""
    if tensor.numel() != 1 or tensor.is_floating_point() or tensor.is_complex():
        raise UserError(
            f"{name}: no published model has this tensor in the shape {tuple(tensor.shape)} of {tensor.dtype}"
        )
    return int(tensor.item())


def mega_side(entries: int) -> int:
    """H = W for a table of 2 H W - 1 position biases."""
    side = math.isqrt((entries + 1) // 2)
    if 2 * side * side - 1 != entries:
        raise UserError(f"its {entries} position biases do not fit a square image (2 N N - 1)")
    return side


def range_text(length: int) -> str:
    """The image sides whose number of pixels is rounded up to `length` tokens, a power of two."""
    sides = [math.isqrt(length // 2) + 1, math.isqrt(length)] if length > 1 else [1, 1]
    if length < 1 or power_of_two(length) != length or sides[0] > sides[1]:
        return f"L = {length}, which does not fit a square image"
    return f"N = {sides[0]} to {sides[1]}"
