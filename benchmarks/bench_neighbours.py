"""How much other busy processes slow down a training: images per second alone, and with one and two of them.

    python benchmarks/bench_neighbours.py [--study FILE] [--run ssm] [--seconds S] [--rounds N]

Every cell is a separate process that trains one run of the study (7 attack steps and the update, always with the same
batch) while each neighbour, a single-threaded loop, keeps one processor busy. The table gives medians over the rounds.
`fair share` is the measured time of a step divided by the expected time: the time without neighbours, times (threads +
neighbours) / processors if that is more than 1. A value of 1 means that the neighbours take no more than their share.

Run it on an idle machine, because every other process is a neighbour too. The load is printed with the table.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SETTINGS = {  # the thread settings of a process: how many threads, and how they wait
    "2 threads, waiting busily": (2, "ACTIVE"),
    "2 threads, waiting passively": (2, "PASSIVE"),
    "1 thread": (1, "PASSIVE"),
}
NEIGHBOURS = (0, 1, 2)
BUSY = "while True: pass"


def images_per_second(study: Path, run: str, threads: int, seconds: float) -> float:
    """Train for `seconds` in this process; torch is imported here, after the environment has been set."""
    import torch

    from ssmlab.nets.build import build
    from ssmlab.project.params_file import load_params
    from ssmlab.training.attack import attack_from
    from ssmlab.training.optimizer import make_optimizer, make_schedule
    from ssmlab.training.regimes import make_regime
    from ssmlab.training.regimes.base import Learner
    from ssmlab.training.sharding import BatchShard

    torch.set_num_threads(threads)
    settings, shape, classes = load_params(study).run(run), (1, 28, 28), 10
    train, batch = settings.train, settings.train.batch_size
    model = build(settings.model, shape, classes, seed=0).train()
    optimizer = make_optimizer(model, train.optimizer)
    schedule = make_schedule(optimizer, train.optimizer, 10**6)
    generator = torch.Generator().manual_seed(0)
    regime = make_regime(Learner(model, optimizer, schedule, generator, BatchShard(batch), shape), train)
    x, y = torch.rand(batch, *shape, generator=generator), torch.zeros(batch, dtype=torch.int64)
    regime.step(x, y, attack_from(train.adversary))
    steps, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        regime.step(x, y, attack_from(train.adversary))
        steps += 1
    return steps * batch / (time.perf_counter() - began)


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Inside, `count` other processes are busy."""
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def measured(options: argparse.Namespace, threads: int, policy: str, count: int) -> float:
    """Images per second of a new process with `count` neighbours."""
    command = [sys.executable, __file__, "--study", str(options.study), "--run", options.run]
    command += ["--seconds", str(options.seconds), "--threads", str(threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": policy}
    with neighbours(count):
        return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Print the table, or with --threads (which it passes to its own processes) one number."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("studies/mnist5k-published.yaml"))
    parser.add_argument("--run", default="ssm")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads is not None:
        print(images_per_second(options.study, options.run, options.threads, options.seconds))
        return

    processors = len(os.sched_getaffinity(0))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{options.study.stem}/{options.run}; {platform.processor() or platform.machine()}, {processors} processors")
    print(f"load before: {load} (1, 5, 15 minutes); {options.rounds} rounds of {options.seconds} s")
    heads = ["alone: images/s", *(f"beside {count}: images/s | fair share" for count in NEIGHBOURS[1:])]
    print(f"| threads | {' | '.join(heads)} |\n|---|{'--:|' * (2 * len(NEIGHBOURS) - 1)}")
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(options.rounds):  # round by round, so that the machine's drift hits all settings alike
        for name, (threads, policy) in SETTINGS.items():
            for count in NEIGHBOURS:
                found.setdefault((name, count), []).append(measured(options, threads, policy, count))
    for name, (threads, _) in SETTINGS.items():
        alone = statistics.median(found[name, 0])
        cells = [f"{alone:,.0f}"]
        for count in NEIGHBOURS[1:]:
            speed = statistics.median(found[name, count])
            expected = alone / max(1.0, (threads + count) / processors)
            cells += [f"{speed:,.0f}", f"{expected / speed:.2f}"]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
