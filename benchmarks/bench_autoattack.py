"""The cost of AutoAttack: in batches that keep their images, in full batches of survivors, and screened.

    python benchmarks/bench_autoattack.py [--images 200] [--batch 50]

CPU seconds of one thread, on S4 models that were trained on real digits for a minute with clean and with FGSM images.
The flags of the first two are compared, then the flags of PGD-10 for two batch sizes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ssmlab.core.seeds import seed_of
from ssmlab.evaluation.attack_names import parse_attack
from ssmlab.evaluation.attacks import run_attack
from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.evaluate import evaluate
from ssmlab.evaluation.victim import Victim
from ssmlab.ingest.formats.mnist5k import read_mnist5k
from ssmlab.nets.build import build
from ssmlab.nets.classifier import Classifier
from ssmlab.params import ModelParams

MODEL = {
    "mixer": "s4",
    "enhancement": "none",
    "tokens": "raster",
    "patch": 4,
    "d_model": 64,
    "d_state": 64,
    "layers": 2,
    "pointwise": "gelu",
    "output": "linear",
    "dropout": 0.0,
}
EPS = 0.1
HELD_OUT = 1000


def digits() -> tuple[Tensor, Tensor]:
    """5,000 real digits (N, 1, 28, 28) in [0, 1] and their labels, in a random order."""
    part = read_mnist5k().parts["train"]
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0))
    images = torch.from_numpy(part.images.read(torch.arange(5000).numpy())).float() / 255
    return images[order], torch.from_numpy(part.labels).long()[order]


def trained(x: Tensor, y: Tensor, robust: bool, steps: int = 400) -> Classifier:
    """A model after `steps` steps on clean or on N-FGSM images."""
    model = build(ModelParams.model_validate(MODEL), (1, 28, 28), 10, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        rows = torch.randint(HELD_OUT, len(x), (64,), generator=generator)
        images, labels = x[rows], y[rows]
        if robust:
            noisy = (images + 2 * EPS * (2 * torch.rand(images.shape, generator=generator) - 1)).requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(model(noisy), labels), noisy)
            images = (noisy + EPS * gradient.sign()).detach().clamp(0, 1)
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model.eval()


def cpu_seconds(work: Callable[[], str]) -> tuple[float, str]:
    """CPU seconds of a call, and its flags."""
    began = time.process_time()
    flags = work()
    return time.process_time() - began, flags


def in_kept_batches(model: Classifier, x: Tensor, y: Tensor, eps: float, batch: int) -> str:
    """AutoAttack batch by batch, each through all parts."""
    victim, spec = Victim(model.freeze(), torch.device("cpu")), parse_attack("autoattack", eps)
    right = victim.is_right(x, y)
    for rows in torch.arange(len(x)).split(batch):
        left = rows[right[rows]]
        if len(left):
            right[left] = run_attack(spec, victim, x[left], y[left], Ball(eps), 10, seed_of(0, "attacks")).right
    return "".join(str(int(each)) for each in right)


def flags_of_attack(model: Classifier, x: Tensor, y: Tensor, eps: float, attack: str, batch: int) -> str:
    return evaluate(model, x, y, [attack], eps, batch_size=batch).measures[attack].flags


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--batch", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(1)
    images, labels = digits()
    x, y = images[: options.images], labels[: options.images]
    print("| model | AutoAttack | kept batches s | full batches s | screened s | flags that differ |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, robust, eps in (("undefended", False, 0.03), ("N-FGSM", True, EPS)):
        model = trained(images, labels, robust)

        by_name = partial(flags_of_attack, model, x, y, eps)
        checks, _ = cpu_seconds(partial(by_name, "fgsm", options.batch))  # all but the attack
        kept, before = cpu_seconds(partial(in_kept_batches, model, x, y, eps, options.batch))
        full, after = cpu_seconds(partial(by_name, "autoattack", options.batch))
        screened, _ = cpu_seconds(partial(by_name, "screened-autoattack", options.batch))
        differ = sum(a != b for a, b in zip(before, after, strict=True))
        accuracy = after.count("1") / len(after)
        times = " | ".join(f"{seconds:.0f}" for seconds in (kept, full - checks, screened - checks))
        print(f"| {name}, eps {eps} | {accuracy:.1%} | {times} | {differ} of {len(after)} |", flush=True)
        everything = partial(flags_of_attack, model, images[:HELD_OUT], labels[:HELD_OUT], eps, "pgd-10")
        small, large = everything(37), everything(250)
        moved = sum(a != b for a, b in zip(small, large, strict=True))
        print(f"PGD-10 in batches of 37 and of 250: {moved} of {HELD_OUT} flags differ", flush=True)


if __name__ == "__main__":
    main()
