"""Every mixer by every route: time and peak memory of one layer, as a markdown table.

    python benchmarks/bench_mixers.py [--batch 16] [--width 64] [--length 49 ...] [--mixer s5 ...] [--device cpu]

One layer (B, L, D) -> (B, L, D) without residual and norm. `frozen`: with gradients of the input, as in an attack;
`live`: with gradients of the input and all parameters, as in training. The routes take turns in every round, so that
changes in the machine's speed affect all of them equally. The table gives medians over the rounds, and the median ratio
of the chosen route to each other route: above 1 the chosen route is slower. The first route is the simplest.

Peak memory is the growth of the process during forward and backward pass: on a CPU the peak resident size, after free
memory was returned (Linux only); on a GPU the allocator's own peak.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from ssmlab.nets import longconv, mamba, s5, scan, selective
from ssmlab.nets.build import layer as build_layer
from ssmlab.nets.classifier import Residual
from ssmlab.params import ModelParams

LENGTHS = (49, 196, 784, 1024, 4096)
MIXERS: dict[str, dict[str, Any]] = {
    "s4": {"d_state": 64},
    "s4d": {"d_state": 64, "s4d": {"discretisation": "zoh", "initial": "lin"}},
    "dss": {"d_state": 64},
    "s5": {},
    "mamba": {"d_state": 16},
    "mega": {"mega": {"z": 64, "hidden": 64, "ffn": 64, "ema": 16}},
}
MOST_ENTRIES = 2**28  # whole Toeplitz matrices (D, L, L) beyond this are left out
Route = Callable[[], contextlib.AbstractContextManager[Any]]


def whole_recurrence(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The selective scan step by step, with all states stored."""
    h = scan.by_recurrence(torch.exp(dt.unsqueeze(2) * A.t()), B.unsqueeze(-1) * (dt * x).unsqueeze(2))
    return selective.outputs(h, C)


def convolutions(most: float, block: int) -> Route:
    """Convolutions of up to `most` tokens as Toeplitz products, `block` columns at a time; longer ones by FFT."""
    limits = {"TOEPLITZ_LIMIT": 2**62, "LONGEST": 2**62, "BLOCK": block}
    return lambda: mock.patch.multiple(longconv, TOKENS_A_SEQUENCE=most, FIXED_TOKENS_A_SEQUENCE=most, **limits)


def routes(mixer: str, width: int, length: int) -> dict[str, Route]:
    """The routes of a mixer, the plainest first and the chosen one last."""
    chosen = {"chosen": contextlib.nullcontext}
    if mixer == "s5":
        return {"recurrence": lambda: mock.patch.object(s5, "scan", scan.by_recurrence), **chosen}
    if mixer == "mamba":
        return {
            "recurrence": lambda: mock.patch.object(mamba, "selective_scan", whole_recurrence),
            "one scan": lambda: mock.patch.dict(selective.CHUNK_ENTRIES, cpu=2**62, cuda=2**62),
            **chosen,
        }
    if mixer == "mega":
        return chosen
    whole = {"toeplitz": convolutions(2**62, 2**62)} if width * length**2 <= MOST_ENTRIES else {}
    return {**whole, "columns": convolutions(2**62, longconv.BLOCK), "fft": convolutions(0, 1), **chosen}


def layer(mixer: str, width: int, length: int, device: str) -> nn.Module:
    """One layer of the mixer in evaluation mode, without residual and norm."""
    params = ModelParams.model_validate(
        {"mixer": mixer, "d_state": width, "enhancement": "none", "tokens": "raster", "patch": 1, "d_model": width,
         "layers": 1, "pointwise": "none", "output": "linear", "dropout": 0.0} | MIXERS[mixer]
    )  # fmt: skip
    made = build_layer(params, length)
    return (made.mixer if isinstance(made, Residual) else made).eval().to(device)


def resident(field: str) -> float:
    """A size from /proc/self/status in MiB; NaN if the file does not exist."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def peak(work: Callable[[], object], device: str) -> float:
    """By how many MiB `work` makes the process grow at most."""
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    if not sys.platform.startswith("linux"):
        return float("nan")
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again at the present size
    before = resident("VmRSS")
    work()
    return resident("VmHWM") - before


def milliseconds(work: Callable[[], object], device: str) -> float:
    """Wall-clock time of one call."""
    began = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) * 1e3


def forward(module: nn.Module, u: Tensor) -> None:
    """The output alone."""
    with torch.no_grad():
        module(u)


def backward(module: nn.Module, u: Tensor) -> None:
    """The gradients to the input and to what parameters take one."""
    u = u.detach().requires_grad_()
    y = module(u)
    torch.autograd.grad(y, [u, *(p for p in module.parameters() if p.requires_grad)], torch.ones_like(y))


def line_up(mixer: str, form: str, length: int, options: argparse.Namespace) -> list[str]:
    """The table's lines for all routes of one mixer in one form."""
    device = options.device
    live = layer(mixer, options.width, length, device)
    u = torch.randn(options.batch, length, options.width, device=device)
    cases = {}
    for name, route in routes(mixer, options.width, length).items():
        with route():
            module = live.freeze(length) if form == "frozen" else live
            backward(module, u)
            cases[name] = (route, module, peak(lambda m=module: backward(m, u), device))
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for _ in range(options.rounds):
        for name, (route, module, _) in cases.items():
            with route():
                ahead, both = (milliseconds(lambda m=module, w=w: w(m, u), device) for w in (forward, backward))
                times[name].append((ahead, both))
    lines = []
    for name, (_, _, memory) in cases.items():
        ahead, both = (statistics.median(column) for column in zip(*times[name], strict=True))
        ratios = [
            statistics.median(c[i] / t[i] for c, t in zip(times["chosen"], times[name], strict=True)) for i in (0, 1)
        ]
        compared = "" if name == "chosen" else f"{ratios[0]:.2f} / {ratios[1]:.2f}"
        lines.append(f"| {length} | {mixer} | {form} | {name} | {ahead:.1f} | {both:.1f} | {memory:.0f} | {compared} |")
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--length", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--mixer", choices=list(MIXERS), nargs="+", default=list(MIXERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    machine = torch.cuda.get_device_name() if options.device == "cuda" else processor()
    print(f"{machine}, torch {torch.__version__}, 1 thread, B {options.batch}, D {options.width}.\n")
    print("| L | mixer | form | route | forward ms | and backward ms | peak MiB | chosen / this |")
    print("|---|---|---|---|---|---|---|---|")
    for length in options.length:
        for mixer in options.mixer:
            for form in ("frozen", "live"):
                print(*line_up(mixer, form, length, options), sep="\n", flush=True)


def processor() -> str:
    """The CPU's name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
