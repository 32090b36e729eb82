"""After a thousand optimiser steps in random directions, numbers are finite and modes decay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssmlab.nets import build
from ssmlab.params import ModelParams

MIXERS: dict[str, dict[str, Any]] = {
    "s4": {"mixer": "s4"},
    "s4d-zoh": {"mixer": "s4d", "s4d": {"discretisation": "zoh", "initial": "lin"}},
    "s4d-bilinear": {"mixer": "s4d", "s4d": {"discretisation": "bilinear", "initial": "inv"}},
    "dss": {"mixer": "dss"},
    "s5": {"mixer": "s5"},
    "mamba": {"mixer": "mamba"},
    "mega": {"mixer": "mega", "mega": {"z": 4, "hidden": 5, "ffn": 7, "ema": 3}},
}
REAL_PARTS: dict[str, Callable[[nn.Module], Tensor]] = {  # of continuous modes, or logarithms of decays
    "s4": lambda layer: -layer.mixer.ssm.kernel.log_decay.exp(),
    "s4d-zoh": lambda layer: -layer.mixer.ssm.kernel.log_decay.exp(),
    "s4d-bilinear": lambda layer: -layer.mixer.ssm.kernel.log_decay.exp(),
    "s5": lambda layer: layer.mixer.ssm.system().decay.abs().log(),
    "mamba": lambda layer: layer.mixer.transition(),
    "mega": lambda layer: torch.log1p(-layer.attention.ema.alpha.sigmoid() * layer.attention.ema.delta.sigmoid()),
}  # DSS may have growing modes: its rows are normalised


@pytest.mark.parametrize("lr", [1e-3, 3e-2])
@pytest.mark.parametrize("name", list(MIXERS))
def test_a_thousand_random_steps_leave_every_mixer_finite(name: str, lr: float) -> None:
    common = {
        "enhancement": "none", "tokens": "raster", "patch": 1, "d_model": 6, "d_state": 4, "layers": 2,
        "pointwise": "none", "output": "linear", "dropout": 0.0,
    }  # fmt: skip
    model = build(ModelParams.model_validate(common | MIXERS[name]), (1, 9, 7), 10, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    generator = torch.Generator().manual_seed(0)
    for _ in range(1000):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    for form in (model, model.freeze()):
        x = torch.rand(2, 1, 9, 7, generator=generator).requires_grad_()
        loss = F.cross_entropy(form(x), torch.tensor([1, 2]))
        inputs = [x, *(p for p in form.parameters() if p.requires_grad)]
        assert loss.isfinite()
        assert all(g.isfinite().all() for g in torch.autograd.grad(loss, inputs))
    if name in REAL_PARTS:
        assert all((REAL_PARTS[name](layer) < 0).all() for layer in model.layers)
