"""The parts of which mixers build their layers: norm, enhancement, and the layer around a linear state space."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ssmlab.core.errors import UserError
from ssmlab.nets.ads import AdaptiveScaling
from ssmlab.nets.attention import SelfAttention
from ssmlab.nets.classifier import Residual
from ssmlab.nets.mixer import Mixer, Ssm, SsmKernel
from ssmlab.nets.ssm_block import LinearSsm, OutputMap, SsmBlock
from ssmlab.params import MIXERS, ModelParams


def norm(params: ModelParams) -> nn.Module:
    """The norm before the first layer and after every layer; the identity if layers have their own norms or none."""
    if MIXERS[params.mixer].own_norms or params.norm == "none":
        return nn.Identity()
    return nn.LayerNorm(params.d_model)


def enhancement(params: ModelParams, width: int) -> nn.Module:
    """The enhancement of the SSM's output, on channel-first sequences (width, B, L); the identity for none."""
    if params.ads is not None:
        return AdaptiveScaling(width, params.ads.act, params.ads.parts)
    return SelfAttention(width) if params.enhancement == "attention" else nn.Identity()


def convolution_layer(params: ModelParams, new_kernel: Callable[[], SsmKernel]) -> Mixer:
    """A layer around a convolution kernel, or around two if it is bidirectional: S4, S4D, DSS."""
    kernels = [new_kernel() for _ in range(2 if params.bidirectional else 1)]
    enhancing = enhancement(params, params.d_model)  # before the skip: a seed must keep giving the same weights
    return ssm_layer(params, LinearSsm(kernels[0], params.d_model, *kernels[1:]), enhancing, params.output)


def ssm_layer(params: ModelParams, ssm: Ssm, enhancing: nn.Module, output: OutputMap) -> Mixer:
    """A linear SSM block inside a residual connection with a norm."""
    block = SsmBlock(ssm, enhancing, params.d_model, params.pointwise, output, params.dropout)
    return Residual(block, norm(params))


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
