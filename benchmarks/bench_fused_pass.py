"""A pass of the frozen `ssm` of the default study, by autograd and written by hand, in turns.

    python benchmarks/bench_fused_pass.py [--batch 100] [--turns 5]

A pass goes forward to one logit and backward to the images. The hand-written pass does the same sums in the same order,
so its gradient must be equal bit for bit. It writes into the same buffers every time, and saves nothing about weights.
CPU ms of one thread: the least and the median of all passes, and the ratio of the medians of every turn.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ssmlab.nets import build
from ssmlab.project.params_file import load_params

PASSES = 25  # of each kind in a turn
norm_forward = torch.ops.aten.native_layer_norm
norm_backward = torch.ops.aten.native_layer_norm_backward


def by_autograd(model: torch.nn.Module, x: Tensor) -> Tensor:
    """The gradient (B, 1, 28, 28) of the first logit of images x (B, 1, 28, 28)."""
    here = x.clone().requires_grad_()
    return torch.autograd.grad(model(here)[:, 0].sum(), here)[0]


class PassByHand:
    """The same gradient of the frozen affine SSM, h <- norm(h + W (K * h) + b) in every layer."""

    def __init__(self, model: torch.nn.Module, batch: int) -> None:
        self.model, self.batch = model, batch
        self.width, self.tokens = model.embed.out_features, batch * model.length
        self.turned = torch.empty(self.width, batch, model.length)
        self.filtered = torch.empty_like(self.turned)
        self.sums = [torch.empty(self.tokens, self.width) for _ in range(len(model.layers) + 1)]

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """The gradient (B, 1, 28, 28) of the first logit of images x (B, 1, 28, 28)."""
        model, kept = self.model, []
        tokens = model.tokens(x).flatten(0, 1)  # (B L, 16)
        total = torch.addmm(model.embed.bias, tokens, model.embed.weight.t(), out=self.sums[0])  # (B L, D)
        h = self.normed(total, model.norm, kept)
        for layer, space in zip(model.layers, self.sums[1:], strict=True):
            h = self.normed(self.layer_sum(layer.mixer, h, space), layer.norm, kept)
        model.head(h.view(self.batch, model.length, self.width).sum(1) / model.length)  # (B, 10), as an attack needs it
        slope = (model.head.weight[0] / model.length).expand(self.tokens, self.width)  # (B L, D)
        for layer in reversed(model.layers):
            slope = self.norm_slope(slope.contiguous(), layer.norm, kept)
            self.add_mixer_slope(layer.mixer, slope)
        pixels = self.norm_slope(slope, model.norm, kept) @ model.embed.weight  # (B L, 16)
        grid = pixels.view(self.batch, 7, 7, 4, 4).permute(0, 1, 3, 2, 4)  # (B, 7, 4, 7, 4)
        return grid.reshape(self.batch, 1, 28, 28)

    def normed(self, total: Tensor, norm: torch.nn.LayerNorm, kept: list[tuple[Tensor, ...]]) -> Tensor:
        """The LayerNorm of `total` (B L, D); what its slope needs goes to `kept`."""
        h, mean, scale = norm_forward(total, [self.width], norm.weight, norm.bias, norm.eps)
        kept.append((total, mean, scale))
        return h

    def norm_slope(self, slope: Tensor, norm: torch.nn.LayerNorm, kept: list[tuple[Tensor, ...]]) -> Tensor:
        """The gradient (B L, D) of the LayerNorm's input."""
        total, mean, scale = kept.pop()
        wanted = [True, False, False]
        return norm_backward(slope, total, [self.width], mean, scale, norm.weight, norm.bias, wanted)[0]

    def layer_sum(self, mixer: torch.nn.Module, h: Tensor, space: Tensor) -> Tensor:
        """h + mixer(h) for h (B L, D), in the memory of `space`."""
        self.turned.flatten(1).copy_(h.t())
        torch.bmm(self.turned, mixer.ssm.columns, out=self.filtered)
        output = mixer.output
        return torch.addmm(output.bias, self.filtered.flatten(1).t(), output.weight.t(), out=space).add_(h)

    def add_mixer_slope(self, mixer: torch.nn.Module, slope: Tensor) -> None:
        """Add to `slope` (B L, D) what comes back through the mixer."""
        torch.mm(mixer.output.weight.t(), slope.t(), out=self.filtered.flatten(1))
        torch.bmm(self.filtered, mixer.ssm.columns.transpose(1, 2), out=self.turned)
        slope.add_(self.turned.flatten(1).t())


def timed_passes(work: Callable[[], Tensor]) -> list[float]:
    """CPU ms of every pass."""
    taken = []
    for _ in range(PASSES):
        began = time.process_time()
        work()
        taken.append(1e3 * (time.process_time() - began))
    return taken


def main() -> None:
    """Print both times and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    params = load_params(Path("params.yaml")).run("ssm-s0").model
    model = build(params, (1, 28, 28), 10, seed=0).freeze()
    x = torch.rand(options.batch, 1, 28, 28)
    by_hand = PassByHand(model, options.batch)
    print("gradients equal bit for bit:", torch.equal(by_autograd(model, x), by_hand(x)))
    turns = [
        (timed_passes(lambda: by_autograd(model, x)), timed_passes(lambda: by_hand(x))) for _ in range(options.turns)
    ]
    for name, each in zip(("autograd", "by hand"), zip(*turns, strict=True), strict=True):
        passes = [one for turn in each for one in turn]
        print(f"{name}: least {min(passes):.2f} ms, median {statistics.median(passes):.2f} ms")
    ratios = sorted(statistics.median(a) / statistics.median(b) for a, b in turns)
    print(f"ratio: median {statistics.median(ratios):.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f}")


if __name__ == "__main__":
    main()
