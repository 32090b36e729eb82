"""A model from its parameters."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from ssmlab.core.errors import UserError
from ssmlab.nets.ads import AdaptiveScaling
from ssmlab.nets.attention import SelfAttention
from ssmlab.nets.classifier import Classifier, Residual
from ssmlab.nets.dss import DssKernel
from ssmlab.nets.mamba import EXPANSION, MambaLayer
from ssmlab.nets.mega import MegaLayer
from ssmlab.nets.mixer import Mixer, SsmKernel
from ssmlab.nets.s4 import S4Kernel, power_of_two
from ssmlab.nets.s4d import S4dKernel
from ssmlab.nets.s5 import S5
from ssmlab.nets.ssm_block import LinearSsm, SsmBlock
from ssmlab.nets.tokens import Tokens
from ssmlab.params import ModelParams


def build(params: ModelParams, image_shape: tuple[int, int, int], classes: int, seed: int) -> Classifier:
    """A freshly initialised classifier of images (C, H, W) = `image_shape`, float32 on the CPU.

    Equal arguments give equal parameters; torch's global generator is left as it was.

    Raises:
        UserError: the parameters do not fit the images or each other; the message names the key.
    """
    length = sequence_length(params, image_shape)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Classifier(
            Tokens(params.patch, params.tokens),
            image_shape,
            length,
            nn.Linear(image_shape[0] * params.patch**2, params.d_model),
            norm(params),
            [layer(params, length) for _ in range(params.layers)],
            nn.Linear(params.d_model, classes),
        )


def sequence_length(params: ModelParams, image_shape: tuple[int, int, int]) -> int:
    """L, the number of tokens of an image (C, H, W); raises UserError if it cannot be cut into tokens."""
    _, height, width = image_shape
    if height % params.patch or width % params.patch:
        raise UserError(f"model.patch: {params.patch} does not divide the images' {height} x {width} pixels")
    if params.tokens == "published" and params.patch != 1:
        raise UserError(f"model.tokens: published has no patches, but model.patch is {params.patch}; use 1, or raster")
    return (height // params.patch) * (width // params.patch)


def norm(params: ModelParams) -> nn.Module:
    """What normalises tokens before the first layer and after every layer that has no norm of its own."""
    if params.mixer == "mega" or params.norm == "none":
        return nn.Identity()
    return nn.LayerNorm(params.d_model)


def layer(params: ModelParams, length: int) -> Mixer:
    """One layer of the trunk for `length` tokens."""
    width = params.d_model
    if params.mixer in ("mamba", "mega") and (params.pointwise, params.output) != ("none", "linear"):
        raise UserError(
            f"model.mixer: {params.mixer} brings its own maps; set model.pointwise: none and model.output: linear"
        )
    if params.mega is not None:
        return MegaLayer(width, params.mega, length, enhancement(params, width), params.dropout)
    if params.mixer == "mamba":
        mamba = MambaLayer(width, params.d_state, enhancement(params, EXPANSION * width), params.dropout)
        return Residual(mamba, norm(params))
    output: Literal["none", "linear", "glu"] = params.output
    if params.mixer == "s5":
        ssm: nn.Module = S5(width, params.d_state)
        put_on = enhancement(params, width)
        output = "glu" if params.output == "glu" else "none"
    else:
        kernels = [kernel(params, length) for _ in range(2 if params.bidirectional else 1)]
        put_on = enhancement(
            params, width
        )  # drawn before the skip: another order would give other weights for the same seed
        ssm = LinearSsm(kernels[0], width, *kernels[1:])
    return Residual(SsmBlock(ssm, put_on, width, params.pointwise, output, params.dropout), norm(params))


def kernel(params: ModelParams, length: int) -> SsmKernel:
    """The kernel of a convolutional SSM for `length` tokens."""
    if params.mixer == "s4":
        return S4Kernel(params.d_model, params.d_state, power_of_two(length))
    if params.s4d is not None:
        return S4dKernel(params.d_model, params.d_state, params.s4d.discretisation, params.s4d.initial)
    return DssKernel(params.d_model, params.d_state)


def enhancement(params: ModelParams, width: int) -> nn.Module:
    """The enhancement of the SSM's output, over channel-first sequences (width, B, L)."""
    if params.ads is not None:
        return AdaptiveScaling(width, params.ads.act, params.ads.parts)
    return SelfAttention(width) if params.enhancement == "attention" else nn.Identity()
