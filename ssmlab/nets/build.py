"""Builds a model from its parameters."""

from __future__ import annotations

from collections.abc import Callable

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
from ssmlab.nets.ssm_block import LinearSsm, OutputMap, SsmBlock
from ssmlab.nets.tokens import Tokens
from ssmlab.params import ModelParams
from ssmlab.params.model import MixerName


def build(params: ModelParams, image_shape: tuple[int, int, int], classes: int, seed: int) -> Classifier:
    """A newly initialised classifier for images of shape (C, H, W) = `image_shape`, float32 on the CPU.

    Equal arguments give equal parameters. The state of torch's global random generator does not change.

    Args:
        params: the section `model` of params.yaml.
        classes: number of classes.
        seed: seed of the initial parameters.

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
    """L, the number of tokens of an image (C, H, W).

    Raises:
        UserError: the image cannot be cut into tokens.
    """
    _, height, width = image_shape
    if height % params.patch or width % params.patch:
        raise UserError(
            f"model.patch: {params.patch} does not divide the image size {height} x {width}; use a common divisor"
        )
    if params.tokens == "published" and params.patch != 1:
        raise UserError(
            f"model.tokens: published has no patches, but model.patch is {params.patch}; set model.patch: 1, or "
            "model.tokens: raster"
        )
    return (height // params.patch) * (width // params.patch)


def norm(params: ModelParams) -> nn.Module:
    """The norm before the first layer and after every layer; the identity if layers have their own norms or none."""
    if params.mixer == "mega" or params.norm == "none":
        return nn.Identity()
    return nn.LayerNorm(params.d_model)


def layer(params: ModelParams, length: int) -> Mixer:
    """One layer of the classifier's trunk for `length` tokens."""
    return LAYERS[params.mixer](params, length)


def convolution_layer(params: ModelParams, length: int) -> Mixer:
    """A layer around a convolution kernel: S4, S4D, DSS."""
    kernels = [KERNELS[params.mixer](params, length) for _ in range(2 if params.bidirectional else 1)]
    enhancing = enhancement(params, params.d_model)  # before the skip: a seed must keep giving the same weights
    return ssm_layer(params, LinearSsm(kernels[0], params.d_model, *kernels[1:]), enhancing, params.output)


def s5_layer(params: ModelParams, length: int) -> Mixer:  # noqa: ARG001  # all builders have the same signature
    """An S5 layer. Its C already maps over all channels, so `output: linear` adds no further map."""
    ssm = S5(params.d_model, params.d_state)
    output: OutputMap = "glu" if params.output == "glu" else "none"
    return ssm_layer(params, ssm, enhancement(params, params.d_model), output)


def ssm_layer(params: ModelParams, ssm: nn.Module, enhancing: nn.Module, output: OutputMap) -> Mixer:
    """A linear SSM block inside a residual connection with a norm."""
    block = SsmBlock(ssm, enhancing, params.d_model, params.pointwise, output, params.dropout)
    return Residual(block, norm(params))


def mamba_layer(params: ModelParams, length: int) -> Mixer:  # noqa: ARG001
    """A Mamba layer."""
    check_no_maps(params)
    enhancing = enhancement(params, EXPANSION * params.d_model)
    return Residual(MambaLayer(params.d_model, params.d_state, enhancing, params.dropout), norm(params))


def mega_layer(params: ModelParams, length: int) -> Mixer:
    """A Mega layer, which has its own residual connections and norms."""
    check_no_maps(params)
    assert params.mega is not None
    return MegaLayer(params.d_model, params.mega, length, enhancement(params, params.d_model), params.dropout)


def check_no_maps(params: ModelParams) -> None:
    """Reject settings of an SSM block for a mixer that already has its own nonlinearity and output map.

    Raises:
        UserError: `pointwise` or `output` is set.
    """
    if (params.pointwise, params.output) != ("none", "linear"):
        raise UserError(
            f"model.mixer: {params.mixer} has its own nonlinearity and output map; set model.pointwise: none and "
            "model.output: linear"
        )


def s4_kernel(params: ModelParams, length: int) -> SsmKernel:
    """The kernel of S4, which stores its C for a number of tokens that is a power of two."""
    return S4Kernel(params.d_model, params.d_state, power_of_two(length))


def s4d_kernel(params: ModelParams, length: int) -> SsmKernel:  # noqa: ARG001
    """The kernel of S4D."""
    assert params.s4d is not None
    return S4dKernel(params.d_model, params.d_state, params.s4d.discretisation, params.s4d.initial)


def dss_kernel(params: ModelParams, length: int) -> SsmKernel:  # noqa: ARG001
    """The kernel of DSS."""
    return DssKernel(params.d_model, params.d_state)


def enhancement(params: ModelParams, width: int) -> nn.Module:
    """The enhancement of the SSM's output, on channel-first sequences (width, B, L); the identity for none."""
    if params.ads is not None:
        return AdaptiveScaling(width, params.ads.act, params.ads.parts)
    return SelfAttention(width) if params.enhancement == "attention" else nn.Identity()


# A new mixer needs a file in this folder, its name in `ssmlab.params.model.MixerName`, and a line here.
LAYERS: dict[MixerName, Callable[[ModelParams, int], Mixer]] = {
    "s4": convolution_layer,
    "s4d": convolution_layer,
    "dss": convolution_layer,
    "s5": s5_layer,
    "mamba": mamba_layer,
    "mega": mega_layer,
}
KERNELS: dict[MixerName, Callable[[ModelParams, int], SsmKernel]] = {
    "s4": s4_kernel,
    "s4d": s4d_kernel,
    "dss": dss_kernel,
}
