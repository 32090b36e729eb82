"""Measures the effect of one perturbed token: the error in all tokens after it, and in the last token by distance.

A token u[t] of a layer's input gets a random error with a tenth of its norm. The error of the output at a later token,
relative to the input error, is |y'[t + tau] - y[t + tau]| / |u'[t] - u[t]|. Computations are in float64, so that small
errors can be measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ssmlab.nets.classifier import Residual
from ssmlab.probes.growth import Array, fit_growth
from ssmlab.probes.results import Growth

RELATIVE_SIZE = 0.1  # norm of the perturbation, relative to the token's norm
MOST_POSITIONS = 12  # perturbed positions for the error in the last token

PerturbedSystem = Callable[[Tensor], Tensor]


def growth_of(model: nn.Module, x: Tensor, generator: torch.Generator) -> list[Growth]:
    """The growth in every layer's mixer (for Mega: in the whole layer) on its own input, and in all layers together.

    Args:
        model: a classifier in float64, preferably frozen.
        x: images (B, C, H, W), float64.
    """
    with torch.no_grad():
        return [measured(name, system, u, generator) for name, system, u in systems(model, x)]


def systems(model: nn.Module, x: Tensor) -> Iterator[tuple[str, PerturbedSystem, Tensor]]:
    """Name, map from (B, L, D) to (B, L, D), and its input for the images x, for every mixer and for all layers."""
    h = start = model.norm(model.stem(x))  # type: ignore[operator]
    layers = list(model.layers.children())  # type: ignore[union-attr]
    for number, layer in enumerate(layers, start=1):
        yield f"layer {number}", layer.mixer if isinstance(layer, Residual) else layer, h
        h = layer(h)
    yield "all layers", nn.Sequential(*layers), start


def measured(name: str, system: PerturbedSystem, u: Tensor, generator: torch.Generator) -> Growth:
    """The errors of one system for its input u (B, L, D), and their fitted growth."""
    length = u.shape[1]
    clean = system(u)
    at = length // 4
    after = errors_after(system, u, clean, at, generator)  # (B, L - 1 - at)
    positions = np.unique(np.linspace(0, length - 2, min(MOST_POSITIONS, length - 1)).astype(int))[::-1]
    last = [errors_after(system, u, clean, int(position), generator)[:, -1:] for position in positions]
    end = np.concatenate([after[:, :0], *last], axis=1)  # (B, positions); there are none in a sequence of one token
    distances = length - 1 - positions
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
    """The geometric means over images of errors (images, T), to six digits; 0 if an image has no error."""
    with np.errstate(divide="ignore"):
        means = np.exp(np.log(errors).mean(axis=0))
    return tuple(float(f"{value:.6g}") for value in means)
