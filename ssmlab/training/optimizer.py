"""AdamW with two parameter groups, and the learning rate schedule."""

from __future__ import annotations

import math

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ssmlab.nets.classifier import ssm_parameters
from ssmlab.params import OptimizerParams


def make_optimizer(model: nn.Module, params: OptimizerParams) -> AdamW:
    """AdamW (Loshchilov and Hutter 2019) over all parameters of `model`.

    The SSM parameters (dt, A, B) take `ssm_lr` and no weight decay, as in Gu et al. 2022: decay would pull the poles
    towards zero, which does not make the system simpler. All other parameters, biases and norms included, take `lr` and
    weight decay, as in the published code.
    """
    ssm = ssm_parameters(model)
    ssm_ids = {id(parameter) for parameter in ssm}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in ssm_ids]
    groups = [
        {"params": rest, "lr": params.lr, "weight_decay": params.weight_decay},
        {"params": ssm, "lr": params.ssm_lr, "weight_decay": 0.0},
    ]
    return AdamW([group for group in groups if group["params"]], fused=True)


def make_schedule(optimizer: AdamW, params: OptimizerParams, steps: int) -> LambdaLR:
    """The learning rate of every group at optimiser steps t = 0 .. steps-1:

    constant: lr. cosine: lr (1 + cos(pi t / steps)) / 2 (Loshchilov and Hutter 2017, eq. 5, no restarts). cyclic: one
    triangle, lr (1 - |2 t / steps - 1|), up from zero and down again (Smith 2017; Wong et al. 2020, who train so in a
    few epochs).
    """
    if params.schedule == "constant":
        return LambdaLR(optimizer, lambda _: 1.0)
    if params.schedule == "cyclic":
        return LambdaLR(optimizer, lambda step: 1.0 - abs(2.0 * step / steps - 1.0))
    return LambdaLR(optimizer, lambda step: 0.5 * (1.0 + math.cos(math.pi * step / steps)))
