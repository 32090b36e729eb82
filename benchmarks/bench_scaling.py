"""The cost of an attack step as a function of L, D, N, layers and batch, with a fitted exponent for each.

    python benchmarks/bench_scaling.py [--model s4 mega ...] [--precision fp32] [--rounds 3]

Forward and backward pass of a frozen model to the input, one thread, CPU seconds. Each size is halved and doubled from
a centre (L 400, D 64, N 32, 2 layers, batch 16) while the other sizes are constant. The exponent is the least-squares
slope of log(seconds) against log(size). Sizes take turns within a round; the times are the lowest over the rounds.

`products` is the share of the middle's time inside matrix products (torch.profiler), the rest is memory traffic, norms,
softmax, FFTs and starting operations.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time

import torch
import torch.nn.functional as F
from bench_at import MODELS
from torch import nn

from ssmlab.nets import build
from ssmlab.nets.half_precision import HalfPrecisionClassifier
from ssmlab.params import ModelParams
from ssmlab.training.adversary import input_gradient

MIDDLE = {"L": 400, "D": 64, "N": 32, "layers": 2, "batch": 16}
STEPS = {"L": (100, 400, 1600), "D": (32, 64, 128), "N": (16, 32, 64), "layers": (1, 2, 4), "batch": (8, 16, 32)}
PRODUCTS = {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::baddbmm_", "aten::addmm_"}


class Case:
    """A frozen model with images for it."""

    def __init__(self, name: str, precision: str, sizes: dict[str, int]):
        side = math.isqrt(sizes["L"])
        settings = {
            "mixer": "s4", "enhancement": "none", "tokens": "raster", "patch": 1, "d_model": sizes["D"],
            "layers": sizes["layers"], "d_state": sizes["N"], "pointwise": "none", "output": "linear", "dropout": 0.0,
        } | MODELS[name]  # fmt: skip
        if name == "mega":
            settings["mega"] = {"z": sizes["D"] // 2, "hidden": sizes["D"], "ffn": sizes["D"], "ema": sizes["N"] // 2}
        model: nn.Module = build(ModelParams.model_validate(settings), (1, side, side), 10, seed=0).freeze()
        self.model = HalfPrecisionClassifier(model) if precision == "bf16" else model  # type: ignore[arg-type]
        self.x, self.y = torch.rand(sizes["batch"], 1, side, side), torch.arange(sizes["batch"]) % 10

    def seconds(self) -> float:
        """CPU seconds of one step."""
        began = time.process_time()
        input_gradient(self.model, self.x, self.y, F.cross_entropy)
        return time.process_time() - began

    def share_of_products(self) -> float:
        """How much of one step's time is spent inside matrix products."""
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            self.seconds()
        times = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
        return sum(times.get(name, 0.0) for name in PRODUCTS) / sum(times.values())


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """The slope of log(seconds) over log(sizes)."""
    return statistics.linear_regression([math.log(s) for s in sizes], [math.log(s) for s in seconds]).slope


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(MODELS), nargs="+", default=list(MODELS))
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| model | middle ms | products |" + "".join(f" {name} |" for name in STEPS))
    print("|---|--:|--:|" + "--:|" * len(STEPS))
    for model in options.model:
        row = []
        for name, sizes in STEPS.items():
            cases = [Case(model, options.precision, MIDDLE | {name: size}) for size in sizes]
            rounds = [[case.seconds() for case in cases] for _ in range(options.rounds + 1)]
            row.append(exponent(list(sizes), [min(times) for times in zip(*rounds[1:], strict=True)]))
        middle = Case(model, options.precision, MIDDLE)
        milliseconds = 1e3 * min(middle.seconds() for _ in range(options.rounds + 1))
        shown = "".join(f" {value:.2f} |" for value in row)
        print(f"| {model} | {milliseconds:.1f} | {middle.share_of_products():.0%} |{shown}", flush=True)


if __name__ == "__main__":
    main()
