"""One step of adversarial training (PGD-10 and the update): ours against a straightforward implementation.

    python benchmarks/bench_at.py [--size mnist] [--model s4 ads] [--rounds 3] [--steps 10]
        [--precision fp32 bf16] [--freed-memory kept]

Both start from equal weights and see equal images. They take turns, step by step, in one process on one thread, and are
timed in CPU seconds, so that other work on the machine hits both alike; the table gives medians over the rounds and the
median of the rounds' ratios with the least and the largest. The baseline (plain_models.py) is written from the
mathematics and recomputes its kernels at every attack step.

`slopes` and `weights` are relative L2 distances between the two: of the input's gradients before the first step, and of
how far all parameters have moved after the last. Two right implementations differ by float32 rounding; the signs in PGD
and the division by the gradient's size in Adam make more of it.

With `--precision bf16` our attack runs in bfloat16; update and baseline stay in float32. Both precisions in one call
share the baseline's steps. `--freed-memory kept` keeps freed memory in the process, as a training does
(ssmlab/system/freed_memory.py), for both implementations; the baseline gains more from it.

`--profile` prints the operations in which our step spends most of its CPU time.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from bench_mixers import processor
from plain_models import PlainModel
from torch import Tensor, nn

from ssmlab.nets import build
from ssmlab.nets.half_precision import HalfPrecisionClassifier
from ssmlab.params import ModelParams
from ssmlab.system.freed_memory import keep_freed_memory
from ssmlab.training.adversary import input_gradient, pgd_steps
from ssmlab.training.attack import Attack

ADS = {"enhancement": "ads", "ads": {"act": "relu", "parts": "both"}}
MODELS: dict[str, dict[str, Any]] = {
    "s4": {},
    "dss": {"mixer": "dss"},
    "ads": ADS,
    "s5": {"mixer": "s5"},
    "mega": {"mixer": "mega"},
    "mamba": {"mixer": "mamba"},
}
SIZES: dict[str, dict[str, Any]] = {
    "mnist": {"shape": (1, 28, 28), "batch": 32, "layers": 2, "d_state": 32, "mega": 32},
    "cifar": {"shape": (3, 32, 32), "batch": 16, "layers": 4, "d_state": 64, "mega": 256},
    "small": {
        "shape": (1, 7, 7),
        "batch": 64,
        "layers": 2,
        "d_state": 64,
        "mega": 32,
    },  # 49 tokens, as the default study
}
MAMBA_STATES, MAMBA_BATCH = 16, 4  # the baseline keeps all states: B L Di N numbers several times over


def model_params(name: str, size: dict[str, Any]) -> ModelParams:
    """The settings of the published models (docs/models.md), at one pixel a token."""
    settings = {
        "mixer": "s4", "enhancement": "none", "tokens": "raster", "patch": 1, "d_model": 128, "layers": size["layers"],
        "d_state": size["d_state"], "pointwise": "none", "output": "linear", "dropout": 0.0,
    } | MODELS[name]  # fmt: skip
    if name == "mega":
        settings["mega"] = {"z": 64, "hidden": size["mega"], "ffn": size["mega"], "ema": 16}
    if name in ("s5", "mamba"):
        settings["d_state"] = 128 if name == "s5" else MAMBA_STATES
    return ModelParams.model_validate(settings)


def our_attack(model: nn.Module, x: Tensor, y: Tensor, attack: Attack, seed: int) -> Tensor:
    """PGD on the frozen model."""
    return pgd_steps(model.freeze(), x, y, attack, torch.Generator().manual_seed(seed))  # type: ignore[operator]


def our_attack_in_half_precision(model: nn.Module, x: Tensor, y: Tensor, attack: Attack, seed: int) -> Tensor:
    """PGD on the frozen model in bfloat16."""
    half = HalfPrecisionClassifier(model.freeze())  # type: ignore[operator]
    return pgd_steps(half, x, y, attack, torch.Generator().manual_seed(seed))


def plain_attack(model: nn.Module, x: Tensor, y: Tensor, attack: Attack, seed: int) -> Tensor:
    """PGD as it is written down, from the same random start."""
    noise = pgd_steps(lambda _: _, x, y, replace(attack, steps=0), torch.Generator().manual_seed(seed))
    x_adv = noise
    for _ in range(attack.steps):
        x_adv = x_adv.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(x_adv), y), x_adv)
        x_adv = x_adv.detach() + attack.alpha * gradient.sign()
        x_adv = torch.min(torch.max(x_adv, x - attack.eps), x + attack.eps).clamp(0, 1)
    return x_adv.detach()


ATTACKERS = {"fp32": our_attack, "bf16": our_attack_in_half_precision}


class Trainer:
    """A model, its optimizer and its way to attack."""

    def __init__(self, model: nn.Module, attack: Callable[..., Tensor]):
        self.model, self.attack = model, attack
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, fused=True)

    def step(self, x: Tensor, y: Tensor, attack: Attack, seed: int) -> float:
        """One step of adversarial training; its CPU seconds."""
        began = time.process_time()
        x_adv = self.attack(self.model, x, y, attack, seed)
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(x_adv), y).backward()
        self.optimizer.step()
        return time.process_time() - began


def distance(mine: Tensor, other: Tensor) -> float:
    """Relative L2 distance."""
    return float((mine - other).norm() / other.norm())


def weights(model: nn.Module) -> Tensor:
    """All parameters in a row."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def lines(size: str, name: str, options: argparse.Namespace) -> list[str]:
    """The table's lines of one model at one size, one for each precision."""
    sizes = SIZES[size]
    batch = min(MAMBA_BATCH, sizes["batch"]) if name == "mamba" else sizes["batch"]
    generator = torch.Generator().manual_seed(0)
    model = build(model_params(name, sizes), sizes["shape"], 10, seed=0)
    before = weights(model)
    plain = Trainer(PlainModel(model), plain_attack)
    ours = {precision: Trainer(copy.deepcopy(model), ATTACKERS[precision]) for precision in options.precision}
    attack = Attack(eps=0.1, alpha=0.02, steps=options.steps, norm="linf", random_start=True)
    rounds, slopes = [], []
    for seed in range(options.rounds + 1):
        x = torch.rand(batch, *sizes["shape"], generator=generator)
        y = torch.randint(10, (batch,), generator=generator)
        if not slopes:
            slopes = [input_gradient(form, x, y, F.cross_entropy) for form in (model.freeze(), plain.model)]
        rounds.append([trainer.step(x, y, attack, seed) for trainer in (plain, *ours.values())])
    found = []
    for column, (precision, trainer) in enumerate(ours.items(), start=1):
        other, mine = (statistics.median(turn[place] for turn in rounds[1:]) for place in (0, column))  # after warm-up
        ratios = sorted(turn[0] / turn[column] for turn in rounds[1:])
        moved = [weights(each.model) - before for each in (trainer, plain)]
        spread = f"{statistics.median(ratios):.2f} | {ratios[0]:.2f} to {ratios[-1]:.2f}"
        apart = f"{distance(*slopes):.0e} | {distance(*moved):.0e}"
        found.append(f"| {size} | {name} | {precision} | {batch} | {other:.2f} | {mine:.2f} | {spread} | {apart} |")
        if options.profile:
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
                trainer.step(x, y, attack, 0)
            print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=8, max_name_column_width=40))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), nargs="+", default=["mnist", "cifar"])
    parser.add_argument("--model", choices=list(MODELS), nargs="+", default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--precision", choices=list(ATTACKERS), nargs="+", default=["fp32"])
    parser.add_argument("--freed-memory", choices=["kept", "returned"], default="returned")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = options.freed_memory == "kept" and keep_freed_memory()
    about = f"1 thread, D 128, PGD-{options.steps} and update, freed memory {'kept' if kept else 'returned'}, CPU s"
    print(f"{processor()}, torch {torch.__version__}, {about}.\n")
    print("| size | model | attack | batch | plain | ours | plain / ours | of the rounds | slopes | weights |")
    print("|---|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for size in options.size:
        for name in options.model:
            print("\n".join(lines(size, name, options)), flush=True)


if __name__ == "__main__":
    main()
