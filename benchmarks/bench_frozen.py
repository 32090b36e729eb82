"""How much freezing saves: one attack step (forward and backward to the input) on the live and on the frozen model.

    python benchmarks/bench_frozen.py [--study studies/mnist5k-published.yaml] [--batch 50] [--rounds 30]

Live and frozen model take turns in every round, in one process on one thread, so that changes in the machine's speed
affect both equally. The table gives the median of the rounds and of their ratios. The time of the frozen model does not
include the freezing itself, which an attack pays once for all its steps; it has its own column.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssmlab.nets.build import build
from ssmlab.project.params_file import load_params


def milliseconds(work: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


def attack_step(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The input's gradient of the loss, as PGD asks for it."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), y), x)[0]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("params.yaml"))
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    x, y = torch.rand(options.batch, 1, 28, 28), torch.zeros(options.batch, dtype=torch.int64)

    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, 1 thread, batch {options.batch}")
    print("| run | live ms | frozen ms | live / frozen | freezing ms |\n|---|--:|--:|--:|--:|")
    for name, run in load_params(options.study).runs.items():
        live = build(run.model, (1, 28, 28), 10, seed=0).eval()
        frozen = live.freeze()
        for model in (live, frozen):
            attack_step(model, x, y)
        rounds = [
            (milliseconds(lambda m=live: attack_step(m, x, y)), milliseconds(lambda m=frozen: attack_step(m, x, y)))
            for _ in range(options.rounds)
        ]
        freezing = statistics.median(milliseconds(live.freeze) for _ in range(options.rounds))
        slow, fast = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratio = statistics.median(a / b for a, b in rounds)
        print(f"| {name} | {slow:.2f} | {fast:.2f} | {ratio:.2f} | {freezing:.2f} |")


if __name__ == "__main__":
    main()
