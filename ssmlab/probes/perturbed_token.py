"""What becomes of one perturbed token: the error in all tokens after it, and in the last token from any distance.

A token u[t] of a layer's input gets a random error of a tenth of its length. The error of the output at a later token,
in units of the error that went in, is |y'[t + tau] - y[t + tau]| / |u'[t] - u[t]|. In float64, so that errors that fade
can be followed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ssmlab.nets.classifier import Residual
from ssmlab.probes.growth import Array, fit_growth
from ssmlab.probes.results import Growth

RELATIVE_SIZE = 0.1  # of the perturbed token's own length
MOST_POSITIONS = 12  # from which the last token is looked at

PerturbedSystem = Callable[[Tensor], Tensor]


def growth_of(model: nn.Module, x: Tensor, generator: torch.Generator) -> list[Growth]:
    """The growth in every layer's mixer (Mega: its whole layer), on its own input, and in all layers together.

    Args:
        model: in float64, best frozen. x: (B, C, H, W) float64.
    """
    with torch.no_grad():
        return [measured(name, system, u, generator) for name, system, u in systems(model, x)]


def systems(model: nn.Module, x: Tensor) -> Iterator[tuple[str, PerturbedSystem, Tensor]]:
    """Every map from sequences to sequences, (B, L, D) both, with the input that the images x give it."""
    h = start = model.norm(model.stem(x))  # type: ignore[operator]
    layers = list(model.layers.children())  # type: ignore[union-attr]
    for number, layer in enumerate(layers, start=1):
        yield f"layer {number}", layer.mixer if isinstance(layer, Residual) else layer, h
        h = layer(h)
    yield "all layers", nn.Sequential(*layers), start


def measured(name: str, system: PerturbedSystem, u: Tensor, generator: torch.Generator) -> Growth:
    """The errors of one system for its input u (B, L, D), and the laws they follow."""
    length = u.shape[1]
    clean = system(u)
    at = length // 4
    after = errors_after(system, u, clean, at, generator)  # (B, L - 1 - at)
    positions = np.unique(np.linspace(0, length - 2, min(MOST_POSITIONS, length - 1)).astype(int))[::-1]
    last = [errors_after(system, u, clean, int(position), generator)[:, -1] for position in positions]
    end, distances = np.stack(last, axis=1), length - 1 - positions
    return Growth(
        system=name,
        at=at,
        profile=geometric_means(after),
        after=fit_growth(after, np.arange(1, after.shape[1] + 1, dtype=float)),
        distances=tuple(distances.tolist()),
        end=geometric_means(end),
        over=fit_growth(end, distances.astype(float)),
    )


def errors_after(system: PerturbedSystem, u: Tensor, clean: Tensor, at: int, generator: torch.Generator) -> Array:
    """(B, L - 1 - at): the error of each later token if token `at` of u (B, L, D) is perturbed."""
    direction = torch.randn(u[:, at].shape, generator=generator, dtype=u.dtype).to(u.device)  # (B, D)
    size = RELATIVE_SIZE * u[:, at].norm(dim=1, keepdim=True)
    error = direction * (size / direction.norm(dim=1, keepdim=True))
    perturbed = u.clone()
    perturbed[:, at] += error
    moved = (system(perturbed) - clean)[:, at + 1 :].norm(dim=2)  # (B, L - 1 - at)
    ratio: Array = (moved / size).cpu().numpy()
    return ratio


def geometric_means(errors: Array) -> tuple[float, ...]:
    """Over images, of errors (images, T); 0 where an image has none. To six digits."""
    with np.errstate(divide="ignore"):
        means = np.exp(np.log(errors).mean(axis=0))
    return tuple(float(f"{value:.6g}") for value in means)
