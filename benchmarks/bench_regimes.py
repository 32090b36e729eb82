"""The cost of a training step in every regime, relative to a step of standard training.

    python benchmarks/bench_regimes.py [--study studies/regimes.yaml] [--model ads] [--batch 64] [--rounds 7]

All regimes of the study's grid train copies of one model on the same random images in one process on one thread. They
take turns in every round, so that changes in the machine's speed affect all of them equally. A row gives medians over
the rounds without the first: milliseconds per step, images per second, and the ratio to standard training in the same
round. Weight averaging and the checks after an epoch are not included; validation is the same in every regime.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ssmlab.nets.build import build
from ssmlab.params import RunParams
from ssmlab.project.params_file import load_params
from ssmlab.training.attack import attack_from
from ssmlab.training.events import BatchResult
from ssmlab.training.optimizer import make_optimizer, make_schedule
from ssmlab.training.regimes import make_regime
from ssmlab.training.regimes.base import Learner
from ssmlab.training.sharding import BatchShard

SHAPE, CLASSES = (1, 28, 28), 10


def steps_of(run: RunParams, x: Tensor, y: Tensor, rounds: int) -> Iterator[BatchResult]:
    """Steps of `run`'s regime on a separate model with the same batch every time."""
    train = run.train.model_copy(update={"batch_size": len(x)})
    model = build(run.model, SHAPE, CLASSES, seed=0)
    optimizer = make_optimizer(model, train.optimizer)
    schedule = make_schedule(optimizer, train.optimizer, 2 * rounds)
    generator = torch.Generator().manual_seed(0)
    regime = make_regime(Learner(model, optimizer, schedule, generator, BatchShard(len(x)), SHAPE), train)
    attack = attack_from(train.adversary)
    model.train()
    while True:
        yield regime.step(x, y, attack)


def milliseconds(steps: Iterator[BatchResult]) -> float:
    """Wall-clock time of the next step."""
    began = time.perf_counter()
    next(steps)
    return (time.perf_counter() - began) * 1e3


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("studies/regimes.yaml"))
    parser.add_argument("--model", default="ads")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, y = torch.rand(options.batch, *SHAPE), torch.randint(CLASSES, (options.batch,))

    first, last = f"{options.model}-", "-s0"
    runs = {
        name.removeprefix(first).removesuffix(last): run
        for name, run in load_params(options.study).runs.items()
        if name.startswith(first) and name.endswith(last)
    }
    going = {name: steps_of(run, x, y, options.rounds) for name, run in runs.items()}
    rounds = [{name: milliseconds(steps) for name, steps in going.items()} for _ in range(options.rounds + 1)][1:]

    machine = f"{platform.processor() or platform.machine()}, torch {torch.__version__}, 1 thread"
    print(f"{options.model}, batch {options.batch}, {options.rounds} rounds; {machine}")
    print("| regime | ms a step | images/s | standard = 1 |\n|---|--:|--:|--:|")
    for name in going:
        took = statistics.median(each[name] for each in rounds)
        ratio = statistics.median(each[name] / each["standard"] for each in rounds)
        print(f"| {name} | {took:.1f} | {1e3 * options.batch / took:,.0f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
