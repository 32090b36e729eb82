"""The robust loss of a linear map against all corners of the ball, and its minimum against what no map can exceed."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from benchmarks.linear_optimum import best_linear, robust_loss
from ssmlab.probes.linear import exact_robust_accuracy


def test_the_robust_loss_takes_every_margin_at_its_own_worst_corner() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(3, 4, generator=generator).double(), torch.randn(3, generator=generator).double()
    x, y = torch.tensor([[0.0, 1.0, 0.5, 0.97], [0.3, 0.02, 1.0, 0.6]]).double(), torch.tensor([2, 0])
    total = 0.0
    for image, label in zip(x, y.tolist(), strict=True):
        corners = torch.stack([(image + 0.1 * torch.tensor(signs)).clamp(0, 1) for signs in product((-1, 1), repeat=4)])
        logits = corners @ weight.t() + bias
        margins = (logits[:, [label]] - logits).min(0).values
        others = [margin for j, margin in enumerate(margins) if j != label]
        total += float(torch.log(1 + sum(torch.exp(-margin) for margin in others)))
    assert float(robust_loss(weight, bias, x, y, 0.1)) == pytest.approx(total / 2)


def test_the_best_linear_map_uses_the_pixel_that_no_perturbation_reaches() -> None:
    """Pixel 0 differs by 1 between the classes, and eps 0.3 cannot bridge it; 20 others differ by 0.4 each, and it can.

    Without a ball the 20 pixels together are the better evidence.
    """
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 2
    x = torch.full((60, 21), 0.3) + 0.4 * y[:, None] + 0.05 * torch.rand(60, 21, generator=generator)
    x[:, 0] = y.float()
    found = best_linear((x, y), (x, y), 0.3, 200)
    assert exact_robust_accuracy(found, x, y, 0.3) == 1.0
    difference = (found.weight[1] - found.weight[0]).abs()
    assert float(difference[0]) > 5 * float(difference[1:].max())
