"""Whole models: what a pass, an attack step, an update and freezing cost, as the table of docs/models.md.

    python benchmarks/bench_models.py [--batch 50] [--rounds 15]

The models take turns in every round, in one process on one thread. The table gives medians of CPU milliseconds over the
rounds. "Input": forward and backward to the images. "Train": forward and backward to the parameters.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from bench_mixers import processor
from torch import Tensor, nn

from ssmlab.nets import build
from ssmlab.params import ModelParams

BASE = {
    "mixer": "s4", "enhancement": "none", "tokens": "raster", "patch": 4, "d_model": 64, "d_state": 64, "layers": 2,
    "pointwise": "none", "output": "linear", "dropout": 0.0,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "S4": {},
    "S4D": {"mixer": "s4d", "s4d": {"discretisation": "zoh", "initial": "lin"}},
    "DSS": {"mixer": "dss"},
    "S4 + AdS": {"enhancement": "ads", "ads": {"act": "relu", "parts": "both"}},
    "S4 + attention": {"enhancement": "attention"},
    "S5": {"mixer": "s5"},
    "Mamba": {"mixer": "mamba", "d_state": 16},
    "Mega": {"mixer": "mega", "mega": {"z": 16, "hidden": 16, "ffn": 16, "ema": 4}},
}
COLUMNS = ("frozen forward", "frozen input", "live forward", "live input", "train", "`freeze()`")


def forward(model: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        model(x)


def to_input(model: nn.Module, x: Tensor) -> None:
    here = x.clone().requires_grad_()
    torch.autograd.grad(model(here).square().sum(), here)


def to_parameters(model: nn.Module, x: Tensor) -> None:
    model(x).square().sum().backward()


def works(model: nn.Module, x: Tensor) -> list[Callable[[], object]]:
    """What the columns measure."""
    frozen = model.freeze()  # type: ignore[operator]
    return [
        lambda: forward(frozen, x),
        lambda: to_input(frozen, x),
        lambda: forward(model, x),
        lambda: to_input(model, x),
        lambda: to_parameters(model, x),
        model.freeze,  # type: ignore[list-item]
    ]


def milliseconds(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1e3


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    x = torch.rand(options.batch, 1, 28, 28)
    models = {name: build(ModelParams.model_validate(BASE | more), (1, 28, 28), 10, 0) for name, more in MODELS.items()}
    columns = {name: works(model, x) for name, model in models.items()}
    rounds = [
        {name: [milliseconds(work) for work in each] for name, each in columns.items()}
        for _ in range(options.rounds + 1)  # the first warms up
    ]
    print(f"{processor()}, torch {torch.__version__}, 1 thread, batch {options.batch}, CPU ms\n")
    print(f"| model | parameters | {' | '.join(COLUMNS)} |\n|---|{'--:|' * (len(COLUMNS) + 1)}")
    for name, model in models.items():
        medians = [statistics.median(values) for values in zip(*(turn[name] for turn in rounds[1:]), strict=True)]
        parameters = sum(parameter.numel() for parameter in model.parameters())
        print(f"| {name} | {parameters:,} | {' | '.join(f'{value:.1f}' for value in medians)} |")


if __name__ == "__main__":
    main()
