"""How near does adversarial training come to the most robust linear model? Both robust accuracies are exact.

    python benchmarks/linear_optimum.py PROJECT STUDY [--steps 400] [--figure FILE.svg]

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
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

import ssmlab
from ssmlab.evaluation.results import load_results
from ssmlab.probes.linear import AffineMap, affine_map, exact_robust_accuracy
from ssmlab.report.figure_style import LIGHT, MARKERS, PALETTE, figure_files

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


class Row(NamedTuple):
    """A model's clean accuracy, accuracy under PGD-10 if it was attacked, and exact robust accuracy, in percent."""

    name: str
    clean: float
    attacked: float | None
    exact: float

    def __str__(self) -> str:
        attacked = "-" if self.attacked is None else f"{self.attacked:.1f}"
        return f"| `{self.name}` | {self.clean:.1f} | {attacked} | {self.exact:.1f} |"


def row_of(name: str, affine: AffineMap, x: Tensor, y: Tensor, eps: float, attacked: float | None) -> Row:
    """The row of a linear map for images x and labels y; `attacked` in percent."""
    clean, exact = (100 * exact_robust_accuracy(affine, x, y, radius) for radius in (0.0, eps))
    return Row(name, clean, attacked, exact)


def figure_of(rows: list[Row]) -> Figure:
    """Three marks for each model: clean accuracy, accuracy under PGD-10, and exact robust accuracy."""
    figure = Figure(figsize=(7.0, 0.9 + 0.35 * len(rows)), layout="constrained")
    axes = figure.subplots()
    values: dict[str, list[float | None]] = {
        "clean": [row.clean for row in rows],
        "pgd-10": [row.attacked for row in rows],
        "exact": [row.exact for row in rows],
    }
    for number, (name, found) in enumerate(values.items()):
        shown = [(value, place) for place, value in enumerate(found) if value is not None]
        x, places = [value for value, _ in shown], [place for _, place in shown]
        axes.plot(x, places, MARKERS[number], color=PALETTE[number], alpha=0.8, label=name)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set_xlabel("accuracy, % (exact: robust accuracy without any attack)")
    axes.set_xlim(0, 100)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("study")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    data = ssmlab.load_data(options.project / "data" / f"{options.study}.safetensors")
    x, y = data.test.tensors()
    paths = sorted((options.project / "results" / options.study / "attack").glob("*.json"))
    if not paths:
        parser.error(f"no run of {options.study} was attacked in {options.project}")
    eps = load_results(paths[0]).protocol.eps.value
    rows = []
    for path in paths:
        result = load_results(path)
        model, _ = ssmlab.load(options.project / "models" / options.study / path.stem / "best.safetensors")
        attacked = 100 * result.checkpoints["best"].measures["pgd-10"].accuracy
        rows.append(row_of(path.stem, affine_map(model), x, y, eps, attacked))
    train, validation = data.train.tensors(), data.validation.tensors()
    found = best_linear((train[0].flatten(1), train[1]), validation, eps, options.steps)
    rows.append(row_of("lowest robust loss", found, x, y, eps, None))
    print("| model | clean | pgd-10 | exact |\n|---|--:|--:|--:|", *rows, sep="\n")
    if options.figure:
        options.figure.write_bytes(figure_files(lambda _: figure_of(rows), LIGHT, ("svg",))[".svg"])


if __name__ == "__main__":
    main()
