"""Bounds on the error of a whole model around an image, and the largest eps at which they certify its label.

Every pixel lies in an interval with middle c and radius r, clipped to [0, 1]. The model is evaluated at the middle. The
error e >= 0, one number per entry, bounds the distance of the entry from its middle and is passed through the model:

    linear map W:      |W| e
    SSM of taps k:     sum over s of |k[t - s]| e[s]; with a linear output map W_o and the residual, whose lag 0 is
                       composed exactly: |W_o| (sum over s != t of |k| e) + |I + W_o diag(k[0])| e
    GELU:              1.13 e, the largest slope of GELU
    AdS (act of slope at most l, scale s = act(W_s y + b_s)):
                       (|s| + l |W_s| e) e + l |y| |W_s| e + l |W_b| e      l = 1, but 1/4 for sigmoid
                       `parts: sum`, without the product: e + l |W_s| e + l |W_b| e
    GLU a sigmoid(b):  (sigmoid(b) + e_b / 4) e_a + |a| e_b / 4
    LayerNorm, of a token of D channels, n^2 = |c - mean c|^2 + D epsilon, rho = |e|, the smaller of
                       sqrt(D) 2 rho / (2 n - rho)          (Dunkl and Williams 1964), at most 2 sqrt(D)
                       sqrt(D) (e + mean e + |c - mean c| rho / n) / (n - rho)         for rho < n

each times the norm's |weight|. The bounds hold for every perturbation in the ball, but they can be too loose to be
useful: each takes the worst case of every entry separately, and the worst cases of two layers do not occur together.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssmlab.nets.ads import ACTIVATIONS, AdaptiveScaling, ConstantMap
from ssmlab.nets.classifier import Classifier, Residual
from ssmlab.nets.longconv import channel_first, convolve
from ssmlab.nets.ssm_block import SsmBlock
from ssmlab.params import MIXERS, ModelParams
from ssmlab.probes.gains import impulse_responses

GELU_SLOPE = 1.13  # the largest slope of GELU is 1.12890
STEEPEST = {"relu": 1.0, "tanh": 1.0, "sigmoid": 0.25, "none": 1.0}
LOWEST = 24.0  # the search for the certified eps goes down to 2^-24 times the highest eps
HALVINGS = 9  # steps of the bisection of the exponent: the result is exact to 4%


class Bounded(NamedTuple):
    """Values and a bound on the error of each; two tensors of the same shape."""

    middle: Tensor
    error: Tensor


def can_be_bounded(params: ModelParams) -> bool:
    """Whether `certified_eps` supports every part of the model: fixed SSMs, without attention."""
    return MIXERS[params.mixer].time_invariant and params.enhancement != "attention"


def linear_bound(linear: nn.Linear, h: Bounded) -> Bounded:
    """The bound after a linear map over the last dimension."""
    return Bounded(linear(h.middle), F.linear(h.error, linear.weight.abs()))


def ads_bound(ads: AdaptiveScaling, y: Bounded) -> Bounded:
    """The bound after adaptive scaling of (D, B, L)."""
    steepest, error = STEEPEST[ads.act], y.error
    if isinstance(ads.scale, ConstantMap):
        error = ads.acted(ads.scale, y.middle).abs() * y.error
    elif ads.scale is not None:
        scale = ACTIVATIONS[ads.act](affine(ads.scale, y.middle))
        shift = steepest * mapped(ads.scale.weight.abs(), y.error)
        error = y.error + shift if ads.added else (scale.abs() + shift) * y.error + y.middle.abs() * shift
    if isinstance(ads.bias, nn.Linear):
        error = error + steepest * mapped(ads.bias.weight.abs(), y.error)
    return Bounded(ads(y.middle), error)


def affine(linear: nn.Linear, y: Tensor) -> Tensor:
    return mapped(linear.weight, y) + linear.bias[:, None, None]


def mapped(weight: Tensor, y: Tensor) -> Tensor:
    """W y over the channels of y (D, B, L)."""
    return torch.einsum("ij,jbl->ibl", weight, y)


def norm_bound(norm: nn.Module, h: Bounded) -> Bounded:
    """The bound after LayerNorm over the last dimension of (B, L, D); unchanged if the model has no norm."""
    if not isinstance(norm, nn.LayerNorm):
        return h
    width = h.middle.shape[-1]
    centred = h.middle - h.middle.mean(-1, keepdim=True)
    size = (centred.square().sum(-1, keepdim=True) + width * norm.eps).sqrt()  # (B, L, 1)
    radius = h.error.square().sum(-1, keepdim=True).sqrt()
    left = (size - radius).clamp(min=1e-30)  # if size <= radius, the bound of 2 on the angle is used
    angle = (2 * radius / (2 * size - radius).clamp(min=1e-30)).masked_fill(radius >= size, 2.0).clamp(max=2.0)
    each = (h.error + h.error.mean(-1, keepdim=True) + centred.abs() * radius / size) / left
    error = math.sqrt(width) * torch.minimum(each, angle) * norm.weight.abs()
    return Bounded(norm(h.middle), error)


def ssm_bound(taps: Tensor, middle: Tensor, error: Tensor) -> Bounded:
    """The bound after an SSM: `middle` is its output for the middle, and |taps| maps its input's error (D, B, L)."""
    if taps.dim() == 2:
        return Bounded(middle, convolve(error, taps.abs()))
    carried = torch.zeros_like(error)
    for lag in range(taps.shape[-1]):
        carried[..., lag:] += mapped(taps[..., lag].abs(), error[..., : error.shape[-1] - lag])
    return Bounded(middle, carried)


def glu_bound(y: Bounded) -> Bounded:
    """The bound after a gated linear unit over the last dimension, which it halves."""
    (a, b), (a_error, b_error) = y.middle.chunk(2, dim=-1), y.error.chunk(2, dim=-1)
    return Bounded(F.glu(y.middle), (b.sigmoid() + b_error / 4) * a_error + a.abs() * b_error / 4)


def residual_bound(layer: Residual, h: Bounded) -> Bounded:
    """The bound after one layer, norm(h + block(h)), for h (B, L, D)."""
    block = cast(SsmBlock, layer.mixer)
    length = h.middle.shape[1]
    taps = impulse_responses(block.ssm, length).to(h.middle.dtype)  # type: ignore[arg-type]
    summed = h.middle + block(h.middle)
    if block.pointwise == "none" and not block.gated and isinstance(block.enhancement, nn.Identity):
        return norm_bound(layer.norm, Bounded(summed, affine_error(block, taps, h.error)))
    y = ssm_bound(taps, block.ssm(channel_first(h.middle)), channel_first(h.error))
    if block.pointwise == "gelu":
        y = Bounded(F.gelu(y.middle), GELU_SLOPE * y.error)
    if isinstance(block.enhancement, AdaptiveScaling):
        y = ads_bound(block.enhancement, y)
    y = Bounded(*(part.permute(1, 2, 0) for part in y))  # (B, L, D)
    if isinstance(block.output, nn.Linear):
        y = linear_bound(block.output, y)
    if block.gated:
        y = glu_bound(y)
    return norm_bound(layer.norm, Bounded(summed, h.error + y.error))


def affine_error(block: SsmBlock, taps: Tensor, error: Tensor) -> Tensor:
    """The error of h + W_o (K * h) for the error (B, L, D) of h; the matrix of each lag is composed exactly."""
    length, eye = error.shape[1], torch.eye(error.shape[2], dtype=taps.dtype, device=taps.device)
    out = block.output.weight if isinstance(block.output, nn.Linear) else eye
    others, present = taps.clone(), taps.shape[-1] - length  # where lag 0 is
    others[..., present] = 0
    if taps.dim() == 2:
        carried = ssm_bound(others, error, channel_first(error)).error.permute(1, 2, 0)  # (B, L, D)
        now = out * taps[:, present]
        return F.linear(carried, out.abs()) + F.linear(error, (eye + now).abs())
    mixed = torch.einsum("ij,jkl->ikl", out, others)  # the matrix of every lag includes the output map
    carried = ssm_bound(mixed, error, channel_first(error)).error.permute(1, 2, 0)
    return carried + F.linear(error, (eye + out @ taps[..., present]).abs())


def output_bound(model: Classifier, x: Tensor, eps: Tensor) -> Bounded:
    """The bound on the last layer's output (B, L, D) over the ball of radius eps (B,) around x (B, C, H, W)."""
    reach = eps.view(-1, 1, 1, 1)
    low, high = (x - reach).clamp(min=0.0), (x + reach).clamp(max=1.0)
    h = linear_bound(model.embed, Bounded(model.tokens((low + high) / 2), model.tokens((high - low) / 2)))
    h = norm_bound(model.norm, h)
    for layer in model.layers:
        h = residual_bound(cast(Residual, layer), h)
    return h


def certified_margins(model: Classifier, x: Tensor, y: Tensor, eps: Tensor) -> Tensor:
    """(B,): a lower bound on the smallest margin of label y in the ball of radius eps (B,) around each image."""
    h = output_bound(model, x, eps)
    logits = model.head(h.middle.mean(1))  # (B, classes)
    margins = logits.gather(1, y[:, None]) - logits
    weight = (model.head.weight[y][:, None] - model.head.weight).abs()  # (B, classes, D)
    margins = margins - torch.einsum("bcd,bd->bc", weight, h.error.mean(1))
    smallest: Tensor = margins.scatter(1, y[:, None], torch.inf).min(1).values
    return smallest


@torch.no_grad()
def certified_eps(model: Classifier, x: Tensor, y: Tensor, highest: float) -> Tensor:
    """The largest eps (B,) found at which each image's label is certified, at most `highest`; 0 if none is found.

    The model should be in float64 (`.double()`), so that rounding errors do not lead to wrong certificates.
    """
    whole = certified_margins(model, x, y, torch.full((len(x),), highest, dtype=x.dtype, device=x.device)) > 0
    holds_at = torch.full_like(x[:, 0, 0, 0], -LOWEST)  # bisect the exponent: loose bounds certify very small eps only
    fails_at = torch.zeros_like(holds_at)
    for _ in range(HALVINGS):
        exponent = (holds_at + fails_at) / 2
        holds = certified_margins(model, x, y, highest * 2**exponent) > 0
        holds_at, fails_at = torch.where(holds, exponent, holds_at), torch.where(holds, fails_at, exponent)
    found = torch.where(holds_at == -LOWEST, 0.0, highest * 2**holds_at)
    return found.masked_fill(whole, highest)
