"""State dicts under the published implementation's parameter names (Qi et al. 2024), as ours.

The published code calls its layers `mapping_layers.<i>`. Mega's `mx_proj`, one map there, is four here, and the
directions of its EMA, stacked along D there, are a dimension here. Complex tensors are real pairs here. Leading
dimensions of size one are dropped.

Nothing here trusts the state dict: it may be any file's, so every size is checked before a model is built from it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import ValidationError
from torch import Tensor

from ssmlab.core.errors import UserError
from ssmlab.core.validation import first_problem
from ssmlab.nets.s4 import power_of_two
from ssmlab.params import AdsParams, MegaParams, ModelParams

AdsActivation = Literal["relu", "sigmoid", "tanh"]
MOST = 2048  # for every width and state size: the published ones are below 300, and `build` decomposes an N x N matrix
FIRST = "mapping_layers.0."
SIGNATURES = {  # the mixer by a parameter that only it has, after `mapping_layers.<i>.`
    "layers.0.mega_layer.gamma": "mega",
    "kernel.kernel.w_imag": "s4",
    "kernel.kernel.w": "dss",
    "seq.Lambda": "s5",
    "A_log": "mamba",
}
LAYER = r"mapping_layers\.(\d+)\."
MEGA = LAYER + r"layers\.0\.mega_layer\."
NFFN = LAYER + r"layers\.0\.nffn\."
NAMES = {  # a published name as a pattern -> ours; None: has no counterpart
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
    """The published state dict in `tensors`: what shares the prefix of `input.weight`, under its bare names.

    `param.`, `module.` (of DataParallel), `state_dict.` or any other; entries without the prefix are left out.

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
    """The state dict of our `Classifier`, in float32, for a published one.

    Raises UserError that names an unknown parameter, or one of a shape that no published model has.
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
            raise UserError(f"{name}: no published model has it in the shape {tuple(tensor.shape)}") from None
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
    """Our name for a published one; None where it has no counterpart."""
    for pattern, template in names.items():
        match = re.fullmatch(pattern, name)
        if match:
            return None if template is None else match.expand(template)
    raise UserError(f"{name}: not a parameter of the published models")


def reshaped(name: str, tensor: Tensor) -> Tensor:
    """A published tensor in our shape; raises UserError for a mode of S5 that grows: ours would make it a decay."""
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


def published_params(state: Mapping[str, Tensor], act: AdsActivation | None) -> ModelParams:
    """The model that a published state dict belongs to, from its names and shapes; `act` is that of its AdS, if any.

    Raises:
        UserError: not a state dict of a published model, or `act` is missing or superfluous.
    """
    mixer = next((mixer for name, mixer in SIGNATURES.items() if FIRST + name in state), None)
    if mixer is None:
        raise UserError(f"not a state dict of the published models ({', '.join(SIGNATURES.values())})")
    with_ads = any(name.startswith(FIRST + "adss.") for name in state)
    if with_ads and act is None:
        raise UserError("it has AdS, whose activation no state dict tells: say --ads relu, --ads sigmoid or --ads tanh")
    if act is not None and not with_ads:
        raise UserError("it has no AdS: leave --ads out")
    width, depth = axis_size(state, "input.weight", 0, of=2), layers(state)
    if depth * width**2 > sum(tensor.numel() for tensor in state.values()):
        raise UserError(f"not a published model: {depth} layers of width {width} would have more numbers than it has")
    try:
        return ModelParams.model_validate(
            {
                "mixer": mixer,
                "enhancement": "ads" if act else "none",
                "ads": AdsParams(act=act, parts="both") if act else None,
                "mega": mega_sizes(state) if mixer == "mega" else None,
                "tokens": "published",
                "patch": 1,
                "d_model": width,
                "d_state": states(state, mixer),
                "layers": depth,
                "pointwise": "none",
                "output": "linear",
                "dropout": 0.0,
            }
        )
    except ValidationError as error:
        raise UserError(f"not a published model ({first_problem(error)})") from None


def axis_size(state: Mapping[str, Tensor], name: str, axis: int, of: int) -> int:
    """A width of the model: the size of a tensor along `axis` of `of`.

    Raises UserError where the tensor is not there, has other dimensions, or is larger than any published one.
    """
    tensor = state.get(name)
    if tensor is None:
        raise UserError(f"{name} is missing, which every published model of its kind has")
    if tensor.ndim != of or 0 in tensor.shape:
        raise UserError(f"{name}: no published model has it in the shape {tuple(tensor.shape)}")
    if tensor.shape[axis] > MOST:
        raise UserError(
            f"{name}: {tensor.shape[axis]} is beyond every published model; {MOST} is the most that is read"
        )
    return tensor.shape[axis]


def states(state: Mapping[str, Tensor], mixer: str) -> int:
    """`d_state` as ours counts it: twice the stored halves of S4 and DSS. Mega has none: the least that is allowed."""
    if mixer == "mega":
        return 2
    name, axis, of, times = {
        "s4": ("kernel.kernel.w_imag", 1, 2, 2),
        "dss": ("kernel.kernel.w", 1, 3, 2),
        "s5": ("seq.Lambda", 0, 1, 1),
        "mamba": ("A_log", 1, 2, 1),
    }[mixer]
    return times * axis_size(state, FIRST + name, axis, of)


def layers(state: Mapping[str, Tensor]) -> int:
    """How many layers there are; raises UserError unless they are numbered from 0 without a gap."""
    found = {int(match[1]) for match in (re.match(LAYER, name) for name in state) if match}
    missing = next((i for i in range(len(found)) if i not in found), None)
    if missing is not None:
        raise UserError(f"mapping_layers.{missing} is missing, though there is mapping_layers.{max(found)}")
    return len(found)


def mega_sizes(state: Mapping[str, Tensor]) -> MegaParams:
    """The widths inside a Mega layer."""
    mega = FIRST + "layers.0.mega_layer."
    return MegaParams(
        z=axis_size(state, mega + "gamma", 1, of=2),
        hidden=axis_size(state, mega + "v_proj.weight", 0, of=2),
        ffn=axis_size(state, FIRST + "layers.0.nffn.fc1.weight", 0, of=2),
        ema=axis_size(state, mega + "move.gamma", 1, of=2),
    )


def published_image_shape(state: Mapping[str, Tensor], side: int | None) -> tuple[int, int, int]:
    """(C, H, W) of the square images that a published model takes; `side` is H = W where the user has said it.

    The tensors tell H W for Mega alone (2 H W - 1 position biases). S4 tells the power of two that H W was rounded up
    to, which holds `side` to a range; the others tell nothing.

    Raises:
        UserError: `side` is needed and not given, or is another one than the tensors say.
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
        raise UserError(f"no tensor of it tells the size of its images: say --image-size N, for N x N pixels{fit}")
    if stored and stored != {power_of_two(side * side)}:
        raise UserError(
            f"its S4 stores C for L = {', '.join(map(str, sorted(stored)))}, not for --image-size {side}{fit}"
        )
    if not stored and FIRST + "kernel.kernel.w_imag" in state:
        raise UserError(f"{FIRST}kernel.kernel.L is missing, the length that its C is stored for")
    return channels, side, side


def stored_length(name: str, tensor: Tensor) -> int:
    """The length in S4's buffer `L`."""
    if tensor.numel() != 1 or tensor.is_floating_point() or tensor.is_complex():
        raise UserError(f"{name}: no published model has it in the shape {tuple(tensor.shape)} of {tensor.dtype}")
    return int(tensor.item())


def mega_side(entries: int) -> int:
    """H = W for a table of 2 H W - 1 position biases."""
    side = math.isqrt((entries + 1) // 2)
    if 2 * side * side - 1 != entries:
        raise UserError(f"its {entries} position biases are those of no square image (2 N N - 1)")
    return side


def range_text(length: int) -> str:
    """The image sides whose number of pixels is rounded up to `length` tokens, a power of two."""
    sides = [math.isqrt(length // 2) + 1, math.isqrt(length)] if length > 1 else [1, 1]
    if length < 1 or power_of_two(length) != length or sides[0] > sides[1]:
        return f"L = {length}, which is that of no square image"
    return f"N = {sides[0]} to {sides[1]}"
