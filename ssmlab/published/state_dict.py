"""Translating state dicts of the published implementation (Qi et al. 2024) into ours.

The published code names its layers `mapping_layers.<i>`. Its `mx_proj` of Mega is one map where we have four. It stacks
the two directions of Mega's EMA along D, where we have a dimension for them. We store complex tensors as pairs of real
numbers, and drop leading dimensions of size one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ssmlab.core.errors import UserError
from ssmlab.published.model_sizes import FIRST, LAYER, axis_size

MEGA = LAYER + r"layers\.0\.mega_layer\."
NFFN = LAYER + r"layers\.0\.nffn\."
NAMES = {  # pattern of a published name: our name, or None if we have no such tensor
    r"input\.(.+)": r"embed.\1",
    r"post_norm\.(.+)": r"norm.\1",
    r"norms\.(\d+)\.(.+)": r"layers.\1.norm.\2",
    r"output\.(.+)": r"head.\1",
    LAYER + r"D": r"layers.\1.mixer.ssm.skip",
    LAYER + r"kernel\.kernel\.L": None,
    LAYER + r"kernel\.kernel\.log_w_real": r"layers.\1.mixer.ssm.kernel.log_decay",
    LAYER + r"kernel\.kernel\.w_imag": r"layers.\1.mixer.ssm.kernel.frequency",
    LAYER + r"kernel\.kernel\.w": r"layers.\1.mixer.ssm.kernel.Lambda",
    LAYER + r"kernel\.kernel\.(log_dt|P|B|C)": r"layers.\1.mixer.ssm.kernel.\2",
    LAYER + r"seq\.(Lambda|B|C)": r"layers.\1.mixer.ssm.\2",
    LAYER + r"seq\.log_step": r"layers.\1.mixer.ssm.log_dt",
    LAYER + r"seq\.D": r"layers.\1.mixer.ssm.skip",
    LAYER + r"(A_log|(?:in_proj|conv1d|x_proj|dt_proj|out_proj)\..+)": r"layers.\1.mixer.\2",
    LAYER + r"adss\.(.+)": r"layers.\1.mixer.enhancement.\2",
    LAYER + r"output_linear\.(.+)": r"layers.\1.mixer.output.\2",
    MEGA + r"gamma": r"layers.\1.attention.kappa",
    MEGA + r"beta": r"layers.\1.attention.mu",
    MEGA + r"move\.(.+)": r"layers.\1.attention.ema.\2",
    MEGA + r"(update|shared|reset|candidate)\.(.+)": r"layers.\1.attention.\2.\3",
    MEGA + r"v_proj\.(.+)": r"layers.\1.attention.value.\2",
    MEGA + r"h_proj\.(.+)": r"layers.\1.attention.back.\2",
    MEGA + r"rel_pos_bias\.rel_pos_bias": r"layers.\1.attention.bias.table",
    MEGA + r"norm\.norm\.(.+)": r"layers.\1.attention.norm.\2",
    NFFN + r"fc1\.(.+)": r"layers.\1.feed_forward.into.\2",
    NFFN + r"fc2\.(.+)": r"layers.\1.feed_forward.back.\2",
    NFFN + r"norm\.norm\.(.+)": r"layers.\1.feed_forward.norm.\2",
}
NAMES_OF_MAMBA = NAMES | {LAYER + r"D": r"layers.\1.mixer.skip"}  # where S4 and DSS have a part `ssm`, Mamba has none


def without_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict in `tensors`: all entries with the same prefix as `input.weight`, without the prefix.

    The prefix may be `param.`, `module.` (DataParallel), `state_dict.` or any other. Entries without it are left out.

    Raises:
        UserError: there is no `input.weight`, or more than one.
    """
    prefixes = [name.removesuffix("input.weight") for name in tensors if re.fullmatch(r"(.+\.)?input\.weight", name)]
    if len(prefixes) != 1:
        found = f"several models ({', '.join(prefixes)})" if prefixes else "no parameter called input.weight"
        raise UserError(f"not a state dict of one published model: it has {found}")
    (prefix,) = prefixes
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def published_to_ours(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published state dict translated into that of our `Classifier`, in float32.

    Raises UserError, with the name, for an unknown parameter and for a shape that no published model has.
    """
    ours = {}
    names = NAMES_OF_MAMBA if FIRST + "A_log" in state else NAMES
    for name, tensor in with_mega_maps(state).items():
        new_name = translated(name, names)
        if new_name is None:
            continue
        try:
            ours[new_name] = reshaped(name, tensor).float().contiguous()
        except (IndexError, RuntimeError):
            raise UserError(f"{name}: no published model has this tensor in the shape {tuple(tensor.shape)}") from None
    return ours


def with_mega_maps(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict with Mega's `mx_proj` as the four maps that it consists of."""
    result = dict(state)
    for name in state:
        match = re.fullmatch("(" + MEGA + r")mx_proj\.(.+)", name)
        if match:
            z, hidden = (
                axis_size(state, match[1] + "gamma", 1, of=2),
                axis_size(state, match[1] + "v_proj.bias", 0, of=1),
            )
            joined = result.pop(name)
            width = (joined.shape[0] - z - hidden) // 2
            ends = (width, width + z, width + z + hidden)
            for part, piece in zip(
                ("update", "shared", "reset", "candidate"), torch.tensor_split(joined, ends), strict=True
            ):
                result[f"{match[1]}{part}.{match[3]}"] = piece
    return result


def translated(name: str, names: Mapping[str, str | None]) -> str | None:
    """Our name for a published parameter; None if we have no such tensor."""
    for pattern, template in names.items():
        match = re.fullmatch(pattern, name)
        if match:
            return None if template is None else match.expand(template)
    raise UserError(f"{name}: not a parameter of the published models")


def reshaped(name: str, tensor: Tensor) -> Tensor:
    """A published tensor in our shape; raises UserError if an S5 mode grows, because our S5 could only let it decay."""
    if re.fullmatch(LAYER + r"seq\.Lambda", name) and (tensor.real > 0).any():
        raise UserError(
            f"{name}: {int((tensor.real > 0).sum())} of its modes grow (Re > 0), which our S5 does not have"
        )
    if re.fullmatch(MEGA + r"move\.(alpha|beta|gamma|delta)", name):
        return tensor.reshape(2, tensor.shape[0] // 2, tensor.shape[1])  # (2, D, h)
    if re.fullmatch(LAYER + r"kernel\.kernel\.(P|B)", name):
        return tensor[0, 0]  # (N/2, 2)
    if re.fullmatch(LAYER + r"(D|kernel\.kernel\.(C|w|log_w_real|w_imag))", name):
        return tensor[0] if tensor.ndim > 1 else tensor  # Mamba's D has no leading dimension
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor
