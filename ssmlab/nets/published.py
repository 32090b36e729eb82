"""State dicts under the published implementation's parameter names (Qi et al. 2024), as ours.

The published code calls its layers `mapping_layers.<i>`. Mega's `mx_proj`, one map there, is four here, and the
directions of its EMA, stacked along D there, are a dimension here. Leading dimensions of size one are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from ssmlab.errors import UserError
from ssmlab.params import AdsParams, MegaParams, ModelParams

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


def published_to_ours(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of our `Classifier` for a published one. Raises UserError that names an unknown parameter."""
    ours = {}
    for name, tensor in with_mega_maps(state).items():
        new_name = translated(name)
        if new_name is not None:
            ours[new_name] = reshaped(name, tensor).contiguous()
    return ours


def with_mega_maps(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict with Mega's `mx_proj` as the four maps that it consists of."""
    result = dict(state)
    for name in state:
        match = re.fullmatch("(" + MEGA + r")mx_proj\.(.+)", name)
        if match:
            z, hidden = state[match[1] + "gamma"].shape[1], state[match[1] + "v_proj.bias"].shape[0]
            joined = result.pop(name)
            width = (joined.shape[0] - z - hidden) // 2
            ends = (width, width + z, width + z + hidden)
            for part, piece in zip(
                ("update", "shared", "reset", "candidate"), torch.tensor_split(joined, ends), strict=True
            ):
                result[f"{match[1]}{part}.{match[3]}"] = piece
    return result


def translated(name: str) -> str | None:
    """Our name for a published one; None where it has no counterpart."""
    for pattern, template in NAMES.items():
        match = re.fullmatch(pattern, name)
        if match:
            return None if template is None else match.expand(template)
    raise UserError(f"{name}: not a parameter of the published S4, DSS or Mega models")


def reshaped(name: str, tensor: Tensor) -> Tensor:
    """A published tensor in our shape."""
    if re.fullmatch(MEGA + r"move\.(alpha|beta|gamma|delta)", name):
        return tensor.reshape(2, tensor.shape[0] // 2, tensor.shape[1])  # (2, D, h)
    if re.fullmatch(LAYER + r"kernel\.kernel\.(P|B)", name):
        return tensor[0, 0]  # (N/2, 2)
    if re.fullmatch(LAYER + r"(D|kernel\.kernel\.(C|w|log_w_real|w_imag))", name):
        return tensor[0]
    return tensor


def published_params(state: Mapping[str, Tensor], act: Literal["relu", "sigmoid", "tanh"] | None) -> ModelParams:
    """The model that a published state dict belongs to, from its names and shapes; `act` is that of its AdS, if any.

    Raises:
        UserError: not a state dict of the published S4, DSS or Mega models, or `act` is missing or superfluous.
    """
    first = "mapping_layers.0."
    kernel, mega = first + "kernel.kernel.", first + "layers.0.mega_layer."
    if "input.weight" not in state or not any(first in name for name in state):
        raise UserError("not a state dict of the published models: it has no input.weight or no mapping_layers.0")
    with_ads = first + "adss.scale.weight" in state
    if with_ads != (act is not None):
        raise UserError("the model has AdS: say which activation" if with_ads else "the model has no AdS")
    width = state["input.weight"].shape[0]
    layers = 1 + max(int(match[1]) for match in (re.match(LAYER, name) for name in state) if match)
    if mega + "gamma" in state:
        mixer, pairs = "mega", 1
    elif kernel + "w_imag" in state:
        mixer, pairs = "s4", state[kernel + "w_imag"].shape[-1]
    elif kernel + "w" in state:
        mixer, pairs = "dss", state[kernel + "w"].shape[-2]
    else:
        raise UserError("not a state dict of the published S4, DSS or Mega models")
    sizes = None
    if mixer == "mega":
        sizes = MegaParams(
            z=state[mega + "gamma"].shape[1],
            hidden=state[mega + "v_proj.weight"].shape[0],
            ffn=state[first + "layers.0.nffn.fc1.weight"].shape[0],
            ema=state[mega + "move.gamma"].shape[1],
        )
    return ModelParams.model_validate(
        {
            "mixer": mixer,
            "enhancement": "ads" if act else "none",
            "ads": AdsParams(act=act, parts="both") if act else None,
            "mega": sizes,
            "tokens": "published",
            "patch": 1,
            "d_model": width,
            "d_state": 2 * pairs,
            "layers": layers,
            "pointwise": "none",
            "output": "linear",
            "dropout": 0.0,
        }
    )
