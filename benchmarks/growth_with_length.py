"""How large is the error in the last token if the first one is perturbed, for longer and longer sequences?

    python benchmarks/growth_with_length.py [--lengths 49 196 784 1568] [--images 8] [--width 32] [--data mnist5k]
    python benchmarks/growth_with_length.py --trained CHECKPOINT ...

Untrained models of 2 layers with the weights of one seed, on MNIST digits one below the other: 49 tokens a digit,
patches of 4 x 4 pixels in raster order. The measure is that of the probes (docs/probes.md, "Growth along the tokens"),
for all layers together. A model explodes if both of its fits say so. With --trained, the models of checkpoint files:
Mamba and S5, whose weights hold for any length. S4 and DSS store their kernels for one length and are other models at
another, so the stage `probe` measures them, at their own length. Printed as Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import ssmlab
from ssmlab.artifacts.checkpoint import load
from ssmlab.nets import Classifier, build
from ssmlab.params import ModelParams
from ssmlab.probes.perturbed_token import growth_of
from ssmlab.probes.results import Growth

DIGIT = 49  # tokens of a digit
ANY_LENGTH = ("mamba", "s5")
MODELS: dict[str, dict[str, object]] = {
    "S4": {},
    "S4 + AdS": {"enhancement": "ads", "ads": {"act": "relu", "parts": "both"}},
    "S5": {"mixer": "s5"},
    "Mamba": {"mixer": "mamba", "d_state": 16},
}


def stacked(x: Tensor, count: int, length: int) -> Tensor:
    """(count, 1, 28 k, 28) from digits x (N, 1, 28, 28): k of them one below the other, `length` = 49 k tokens."""
    each = length // DIGIT
    return x[: count * each].reshape(count, 1, 28 * each, 28)


def untrained(changes: dict[str, object], width: int, shape: tuple[int, int, int]) -> Classifier:
    """A new model of a width for images of a shape (C, H, W)."""
    base = {
        "mixer": "s4", "enhancement": "none", "tokens": "raster", "patch": 4, "d_model": width, "d_state": 64,
        "layers": 2, "pointwise": "none", "output": "linear", "dropout": 0.0,
    }  # fmt: skip
    return build(ModelParams.model_validate(base | changes), shape, 10, seed=0)


def lengthened(path: Path, shape: tuple[int, int, int]) -> Classifier:
    """The model of a checkpoint for images of another shape (C, H, W), with the same weights.

    Raises:
        SystemExit: its weights do not hold for another length.
    """
    model, metadata = load(path)
    if metadata.model.mixer not in ANY_LENGTH:
        raise SystemExit(
            f"{path}: the weights of {metadata.model.mixer} hold for one length; `ssmlab probe` measures it"
        )
    longer = build(metadata.model, shape, metadata.classes, seed=0)
    longer.load_state_dict(model.state_dict())
    return longer


def growth_at(make: Callable[[tuple[int, int, int]], Classifier], x: Tensor) -> Growth:
    """The growth through all layers of a model for images x (B, 1, 28 k, 28)."""
    model = make((1, x.shape[2], 28)).eval().double()
    return growth_of(model.freeze(), x.double(), torch.Generator().manual_seed(0))[-1]


def rows(
    models: dict[str, Callable[[tuple[int, int, int]], Classifier]], x: Tensor, lengths: list[int], images: int
) -> Iterator[str]:
    """One line per model and length: the error, how it falls with the distance, and whether it explodes."""
    for name, make in models.items():
        for length in lengths:
            found = growth_at(make, stacked(x, images, length))
            law = f"{found.over.trend}, {found.over.rate:.2g}" if found.over else "too few errors"
            yield f"| {name} | {length:,} | {found.end[-1]:.2g} | {law} | {'yes' if found.explodes else 'no'} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[49, 196, 784, 1568])
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--data", default="mnist5k", help="a prepared data set of 28 x 28 pixels, as study or path")
    parser.add_argument("--trained", type=Path, nargs="+", default=[], help="checkpoint files of Mamba or S5")
    options = parser.parse_args()
    models: dict[str, Callable[[tuple[int, int, int]], Classifier]] = {
        path.parent.name: partial(lengthened, path) for path in options.trained
    } or {name: partial(untrained, changes, options.width) for name, changes in MODELS.items()}
    x, _ = ssmlab.load_data(options.data).test.tensors(options.images * max(options.lengths) // DIGIT)
    print("| model | tokens | error at the end, first token perturbed | over the distance | explodes |")
    print("|---|--:|--:|---|---|")
    for row in rows(models, x, options.lengths, options.images):
        print(row, flush=True)


if __name__ == "__main__":
    main()
