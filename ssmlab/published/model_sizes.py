"""Which model a published state dict belongs to, and how large it is, from its names and shapes.

The state dict may come from any file and is not trusted: every size is checked before a model is built from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from pydantic import ValidationError
from torch import Tensor

from ssmlab.core.errors import UserError
from ssmlab.core.validation import first_problem
from ssmlab.params import AdsParams, MegaParams, ModelParams

AdsActivation = Literal["relu", "sigmoid", "tanh"]
MOST = 2048  # for every width and state size: published ones are below 300; `build` decomposes an N x N matrix, slowly
LAYER = r"mapping_layers\.(\d+)\."
FIRST = "mapping_layers.0."
SIGNATURES = {  # the mixer by a parameter that only it has, after `mapping_layers.<i>.`
    "layers.0.mega_layer.gamma": "mega",
    "kernel.kernel.w_imag": "s4",
    "kernel.kernel.w": "dss",
    "seq.Lambda": "s5",
    "A_log": "mamba",
}


def published_params(state: Mapping[str, Tensor], act: AdsActivation | None) -> ModelParams:
    """The params of a published state dict's model; `act` is the activation of its AdS, None if it has no AdS.

    Raises:
        UserError: it is not a state dict of a published model, or `act` is missing or superfluous.
    """
    mixer = next((mixer for name, mixer in SIGNATURES.items() if FIRST + name in state), None)
    if mixer is None:
        raise UserError(f"not a state dict of the published models ({', '.join(SIGNATURES.values())})")
    with_ads = any(name.startswith(FIRST + "adss.") for name in state)
    if with_ads and act is None:
        raise UserError(
            "it has AdS, whose activation is not in the state dict: give --ads relu, --ads sigmoid or --ads tanh"
        )
    if act is not None and not with_ads:
        raise UserError("it has no AdS: leave --ads out")
    width, depth = axis_size(state, "input.weight", 0, of=2), layers(state)
    if depth * width**2 > sum(tensor.numel() for tensor in state.values()):
        raise UserError(f"not a published model: {depth} layers of width {width} need more numbers than it has")
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
        raise UserError(f"not a published model ({first_problem(error, ModelParams)})") from None


def axis_size(state: Mapping[str, Tensor], name: str, axis: int, of: int) -> int:
    """A width of the model: the size of the tensor `name`, which has `of` axes, along `axis`.

    Raises UserError if the tensor is missing, has another number of axes, or is larger than any published one.
    """
    tensor = state.get(name)
    if tensor is None:
        raise UserError(f"{name} is missing; every published model of this kind has it")
    if tensor.ndim != of or 0 in tensor.shape:
        raise UserError(f"{name}: no published model has this tensor in the shape {tuple(tensor.shape)}")
    if tensor.shape[axis] > MOST:
        raise UserError(f"{name}: {tensor.shape[axis]} is more than any published model has; at most {MOST} is read")
    return tensor.shape[axis]


def states(state: Mapping[str, Tensor], mixer: str) -> int:
    """`d_state` as we count it. S4 and DSS store half of their states; Mega has none, so it gets the smallest value."""
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
