"""The speed of adversarial training on a GPU, as one JSON file, within ten minutes.

    make bench-gpu
    python benchmarks/bench_gpu.py [--out gpu.json] [--seconds 540] [--device cuda] [--small]

There are three parts. Each ends when its share of the time is used up; `left_out` lists what was left out.

- `steps`: one step of adversarial training (PGD-10 and the update) at CIFAR size for every mixer; fp32, TF32 and bf16
  (the attack alone), and each eager, compiled by torch.compile, and as a CUDA graph of one attack step, replayed.
- `epoch`: S4, batch 256: seconds for an epoch of 50,000 images, extrapolated from the steps that were made.
- `autoattack`: the standard ensemble on images of CIFAR's size, on a new S4.

`--small` runs all parts in a few seconds on small models, also on a CPU: it tests the script.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ssmlab
from ssmlab.nets import Classifier, build
from ssmlab.nets.half_precision import HalfPrecisionClassifier
from ssmlab.params import ModelParams
from ssmlab.training.adversary import input_gradient, projection, random_start, steepest_direction

MIXERS: dict[str, dict[str, Any]] = {
    "s4": {},
    "dss": {"mixer": "dss"},
    "ads": {"enhancement": "ads", "ads": {"act": "relu", "parts": "both"}},
    "s5": {"mixer": "s5"},
    "mamba": {"mixer": "mamba"},
    "mega": {"mixer": "mega"},
}
PRECISIONS = ("fp32", "tf32", "bf16")
EPS, ALPHA, STEPS = 8 / 255, 2 / 255, 10
EPOCH_IMAGES, ATTACKED_IMAGES = 50_000, 1_000
Gradient = Callable[[Tensor], Tensor]


def model_params(name: str, small: bool) -> ModelParams:
    """The published sizes at one pixel a token, or tiny ones."""
    width, state, layers = (8, 4, 1) if small else (128, 64, 4)
    settings = {
        "mixer": "s4", "enhancement": "none", "tokens": "raster", "patch": 1, "d_model": width, "layers": layers,
        "d_state": state, "pointwise": "none", "output": "linear", "dropout": 0.0,
    } | MIXERS[name]  # fmt: skip
    if name == "mega":
        settings["mega"] = {"z": width // 2, "hidden": 2 * width, "ffn": 2 * width, "ema": 4 if small else 16}
    if name == "mamba":
        settings["d_state"] = 4 if small else 16
    return ModelParams.model_validate(settings)


def frozen_form(model: Classifier, precision: str) -> nn.Module:
    """The attacked form of the model."""
    frozen = model.freeze()
    return HalfPrecisionClassifier(frozen) if precision == "bf16" else frozen  # type: ignore[arg-type]


class EagerAttack:
    """The gradient as in training: a new frozen model for every batch."""

    def __init__(self, model: Classifier, precision: str, y: Tensor):
        self.model, self.precision, self.y = model, precision, y

    def refreshed(self) -> Gradient:
        """The gradient of the loss of the model with its current weights."""
        frozen = frozen_form(self.model, self.precision)
        return lambda x: input_gradient(frozen, x, self.y, F.cross_entropy)


class StandingAttack:
    """One frozen model whose tensors are overwritten when the weights have changed, so that its code can be kept."""

    def __init__(self, model: Classifier, precision: str, y: Tensor):
        self.model, self.precision, self.y = model, precision, y
        self.standing = frozen_form(model, precision)
        self.tensors = [*self.standing.parameters(), *self.standing.buffers()]

    @torch.no_grad()
    def overwrite(self) -> None:
        """Copy the current tensors of the model into the standing model; shared ones need no copy."""
        new = frozen_form(self.model, self.precision)
        for mine, its in zip(self.tensors, [*new.parameters(), *new.buffers()], strict=True):
            if mine.data_ptr() != its.data_ptr():
                mine.copy_(its)


class CompiledAttack(StandingAttack):
    """The standing model through torch.compile."""

    def __init__(self, model: Classifier, precision: str, y: Tensor):
        super().__init__(model, precision, y)
        self.compiled = torch.compile(self.standing)

    def refreshed(self) -> Gradient:
        """The gradient of the loss of the model with its current weights."""
        self.overwrite()
        return lambda x: input_gradient(self.compiled, x, self.y, F.cross_entropy)


class GraphedAttack(StandingAttack):
    """Forward and backward pass of the standing model as one CUDA graph."""

    def __init__(self, model: Classifier, precision: str, y: Tensor):
        super().__init__(model, precision, y)
        self.x = torch.zeros(len(y), *model.image_shape, device=y.device)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # libraries allocate their workspaces before the capture
            for _ in range(3):
                input_gradient(self.standing, self.x, self.y, F.cross_entropy)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.gradient = input_gradient(self.standing, self.x, self.y, F.cross_entropy)

    def refreshed(self) -> Gradient:
        """The gradient of the loss of the model with its current weights."""
        self.overwrite()
        return self.replay

    def replay(self, x: Tensor) -> Tensor:
        """The gradient at x."""
        self.x.copy_(x)
        self.graph.replay()
        return self.gradient


FORMS = {"eager": EagerAttack, "compiled": CompiledAttack, "graphed": GraphedAttack}


def training_steps(
    form: str, precision: str, model: Classifier, x: Tensor, y: Tensor, generator: torch.Generator
) -> Iterator[None]:
    """Endless steps of adversarial training on the same batch."""
    attack = FORMS[form](model, precision, y)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    inside = projection(x, EPS, "linf")
    while True:
        gradient = attack.refreshed()
        x_adv = random_start(x, EPS, generator)
        for _ in range(STEPS):
            x_adv = inside(steepest_direction(gradient(x_adv), "linf").mul_(ALPHA).add_(x_adv))
        optimizer.zero_grad()
        F.cross_entropy(model(x_adv), y).backward()
        optimizer.step()
        yield


@contextmanager
def matrix_precision(precision: str) -> Iterator[None]:
    """Inside, float32 products may be in TF32 if `precision` asks for it."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def wait(device: torch.device) -> float:
    """The time in seconds after the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Bench:
    """The measurements on one device within a time limit."""

    def __init__(self, device: torch.device, seconds: float, small: bool):
        self.device, self.small = device, small
        self.deadline = time.monotonic() + seconds
        self.left_out: list[str] = []
        self.generator = torch.Generator(device).manual_seed(0)

    def batch(self, images: int) -> tuple[Tensor, Tensor]:
        """Random images of CIFAR's size (or tiny ones) and labels."""
        side = 6 if self.small else 32
        x = torch.rand(images, 3, side, side, generator=self.generator, device=self.device)
        return x, torch.randint(10, (images,), generator=self.generator, device=self.device)

    def model(self, name: str) -> Classifier:
        """A new model."""
        side = 6 if self.small else 32
        return build(model_params(name, self.small), (3, side, side), 10, seed=0).to(self.device)

    def timed(self, name: str, form: str, precision: str, images: int, share: float) -> dict[str, Any] | None:
        """Milliseconds per step, without the first two steps; None if the time is used up or the form fails."""
        label = f"{name} {form} {precision}"
        end = time.monotonic() + share * max(0.0, self.deadline - time.monotonic())
        if time.monotonic() > self.deadline or (form == "graphed" and self.device.type != "cuda"):
            self.left_out.append(f"{label}: {'no CUDA graphs here' if form == 'graphed' else 'no time left'}")
            return None
        times: list[float] = []
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        try:
            with matrix_precision(precision):
                steps = training_steps(form, precision, self.model(name), *self.batch(images), self.generator)
                while len(times) < 3 or (len(times) < 12 and time.monotonic() < end):
                    began = wait(self.device)
                    next(steps)
                    times.append((wait(self.device) - began) * 1e3)
        except Exception as error:  # one form that fails must not lose the others' numbers; it is reported
            self.left_out.append(f"{label}: {type(error).__name__}: {str(error).splitlines()[0][:200]}")
            return None
        peak = torch.cuda.max_memory_allocated(self.device) / 2**20 if self.device.type == "cuda" else None
        milliseconds = statistics.median(times[2:])
        return {
            "mixer": name, "form": form, "precision": precision, "batch": images, "ms": round(milliseconds, 2),
            "images_per_second": round(images / milliseconds * 1e3, 1), "peak_mib": peak and round(peak),
            "first_ms": round(times[0]), "steps": len(times),
        }  # fmt: skip

    def steps(self) -> list[dict[str, Any]]:
        """Every mixer in every form and precision; the cheap forms first, since compiling takes most of the time."""
        combinations = list(product(("eager", "graphed", "compiled"), PRECISIONS, MIXERS))
        rows, left = [], len(combinations)
        for form, precision, name in combinations:
            rows.append(self.timed(name, form, precision, 4 if self.small else 128, 1 / left))
            left -= 1
        return [row for row in rows if row is not None]

    def epoch(self) -> list[dict[str, Any]]:
        """Seconds for an epoch of CIFAR-10's size."""
        rows = [self.timed("s4", form, "bf16", 4 if self.small else 256, 0.1) for form in ("eager", "graphed")]
        return [row | {"epoch_seconds": round(EPOCH_IMAGES / row["images_per_second"], 1)} for row in rows if row]

    def autoattack(self) -> dict[str, Any] | None:
        """Standard AutoAttack on a new model; the time for the first ten images decides how many are attacked."""
        model, (x, y) = self.model("s4"), self.batch(8 if self.small else ATTACKED_IMAGES)
        attacks = ("pgd-10",) if self.small else ("autoattack",)
        with torch.no_grad():
            y = torch.cat([model(part).argmax(1) for part in x.split(100)])  # so that every image has to be attacked
        images, seconds = 0, 0.0
        for count in (min(10, len(x)), len(x)):
            if images and seconds / images * count > self.deadline - time.monotonic():
                self.left_out.append(f"autoattack on {count} images: no time left")
                break
            began = wait(self.device)
            ssmlab.evaluate(
                model, x[:count], y[:count], attacks=attacks, eps=EPS, batch_size=500, device=self.device.type
            )  # type: ignore[arg-type]
            images, seconds = count, wait(self.device) - began
        return {"attack": attacks[0], "images": images, "seconds": round(seconds, 1)}


def run(device: torch.device, seconds: float, small: bool) -> dict[str, Any]:
    """All measurements, as a JSON value."""
    bench = Bench(device, seconds, small)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    epoch = bench.epoch()  # the targets first
    end, bench.deadline = bench.deadline, time.monotonic() + 0.4 * seconds
    autoattack = bench.autoattack()
    bench.deadline = end
    return {
        "device": name, "torch": torch.__version__, "cuda": torch.version.cuda, "ssmlab": ssmlab.__version__,
        "date": time.strftime("%Y-%m-%d"), "small": small, "epoch": epoch, "autoattack": autoattack,
        "steps": bench.steps(), "left_out": bench.left_out,
    }  # fmt: skip


def main() -> None:
    """Measure and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("bench-gpu.json"))
    parser.add_argument("--seconds", type=float, default=540)
    parser.add_argument("--device", choices=["auto", "cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no GPU here; --small --device cpu tests the script")
    wanted = "cuda" if options.device == "cuda" or (torch.cuda.is_available() and options.device == "auto") else "cpu"
    result = run(torch.device(wanted), options.seconds, options.small)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for row in [*result["epoch"], *result["steps"]]:
        speed = f"{row['ms']:9.2f} ms {row['images_per_second']:9.1f} images/s"
        print(f"{row['mixer']:6} {row['form']:9} {row['precision']:5} {speed}")
    print(f"AutoAttack: {result['autoattack']}\n{len(result['left_out'])} left out\nwritten to {options.out}")


if __name__ == "__main__":
    main()
