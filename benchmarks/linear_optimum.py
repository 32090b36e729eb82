"""How near does adversarial training come to the most robust linear model? Both robust accuracies are exact.

    python benchmarks/linear_optimum.py PROJECT STUDY [--steps 400]

PROJECT is a folder in which a study of linear models like `linear-small` was run (S4 with `norm: none`). For each run:
accuracy under PGD-10 as the stage `attack` found it, and the exact robust accuracy of the same best checkpoint on the
same test images (ssmlab.probes.linear). The last line is another linear map, f(x) = W x + b without an SSM, that
minimises the robust loss itself instead of a loss on attacked images:

    mean over images of log(1 + sum over j of exp(-m_j)),  m_j: the exact smallest margin over class j in the ball

It is convex in W and b, so there is one lowest value; Adam goes towards it on the training images from W = 0, all of
them in each step. The step with the highest exact robust accuracy on the validation images is judged. Printed as
Markdown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

import ssmlab
from ssmlab.evaluation.results import load_results
from ssmlab.probes.linear import AffineMap, affine_map, exact_robust_accuracy

RATE = 0.01  # Adam's, falling to 0 in a cosine
EVERY = 10  # steps between two looks at the validation images


def robust_loss(weight: Tensor, bias: Tensor, pixels: Tensor, y: Tensor, eps: float) -> Tensor:
    """The robust loss of f(x) = weight x + bias for images (N, P) with labels (N,); weight (classes, P)."""
    low, high = (-pixels).clamp(min=-eps), (1.0 - pixels).clamp(max=eps)
    losses = []
    for label in range(len(bias)):
        own = y == label
        difference = weight[label] - weight  # (classes, P)
        margins = pixels[own] @ difference.t() + bias[label] - bias  # (n, classes)
        margins = margins + low[own] @ difference.relu().t() - high[own] @ (-difference).relu().t()
        losses.append(torch.logsumexp(-margins, dim=1))  # exp(-m) of the label itself is 1
    return torch.cat(losses).mean()


def best_linear(train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], eps: float, steps: int) -> AffineMap:
    """The linear map of lowest robust loss on `train`, stopped where it is most robust on `validation`; x (N, P)."""
    pixels, y = train[0].double(), train[1]
    weight = torch.zeros(int(y.max()) + 1, pixels.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(len(weight), dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([weight, bias], lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    best, highest = AffineMap(weight.detach().clone(), bias.detach().clone()), -1.0
    for step in range(1, steps + 1):
        adam.zero_grad()
        robust_loss(weight, bias, pixels, y, eps).backward()
        adam.step()
        schedule.step()
        if step % EVERY == 0:
            found = AffineMap(weight.detach().clone(), bias.detach().clone())
            accuracy = exact_robust_accuracy(found, *validation, eps)
            if accuracy > highest:
                best, highest = found, accuracy
    return best


def row(name: str, affine: AffineMap, x: Tensor, y: Tensor, eps: float, attacked: str) -> str:
    """Clean accuracy, accuracy under PGD as text, and exact robust accuracy, in percent."""
    clean = exact_robust_accuracy(affine, x, y, 0.0)
    exact = exact_robust_accuracy(affine, x, y, eps)
    return f"| `{name}` | {100 * clean:.1f} | {attacked} | {100 * exact:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("study")
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args()
    data = ssmlab.load_data(options.project / "data" / f"{options.study}.safetensors")
    x, y = data.test.tensors()
    paths = sorted((options.project / "results" / options.study / "attack").glob("*.json"))
    if not paths:
        parser.error(f"no run of {options.study} was attacked in {options.project}")
    eps = load_results(paths[0]).protocol.eps.value
    print("| model | clean | pgd-10 | exact |\n|---|--:|--:|--:|")
    for path in paths:
        result = load_results(path)
        model, _ = ssmlab.load(options.project / "models" / options.study / path.stem / "best.safetensors")
        attacked = f"{100 * result.checkpoints['best'].measures['pgd-10'].accuracy:.1f}"
        print(row(path.stem, affine_map(model), x, y, eps, attacked), flush=True)
    train, validation = data.train.tensors(), data.validation.tensors()
    found = best_linear((train[0].flatten(1), train[1]), validation, eps, options.steps)
    print(row("lowest robust loss", found, x, y, eps, "-"))


if __name__ == "__main__":
    main()
