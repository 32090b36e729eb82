"""An error's way through the layers: how large it is after every component.

z, z' (B, L, D): what passes a site for clean and for attacked images. Three measures of the error there:

    rho = |z' - z| / |z - mean of z over tokens|        scale-free: the error against what tells the tokens apart
    mse = mean of (z' - z)^2                            grows with the square of the signal's scale
    kl  = mean over tokens of KL(softmax(z) || softmax(z')), softmax over channels
                                                        grows with the signal's scale too, in another way

(|.| Euclidean over tokens and channels of one image.) A component's amplification is rho after it divided by rho
before it. With the geometric mean over images as rho of a site, the amplifications of successive components multiply
to that of all of them, and so they can be put on one ladder. Multiplying all features by 6 leaves rho as it is,
multiplies mse by 36, and changes kl: neither may be read alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ssmlab.nets.classifier import Classifier
from ssmlab.probes.sites import Site, signals, trunk_output
from ssmlab.training.adversary import pgd
from ssmlab.training.attack import Attack


class Step(NamedTuple):
    """The error after one component.

    rho: geometric mean over the images that have one; amplification: rho here over rho before, None at the first site;
    kl, mse: means over images.
    """

    component: str
    layer: int | None
    rho: float
    amplification: float | None
    kl: float
    mse: float


class Ladder(NamedTuple):
    """All steps, and over how many images: those whose error is above 0 at every site."""

    steps: list[Step]
    images: int


def relative_error(clean: Tensor, attacked: Tensor) -> Tensor:
    """rho (B,) of signals (B, L, D); not finite where all tokens are alike."""
    spread: Tensor = (clean - clean.mean(1, keepdim=True)).flatten(1).norm(dim=1)
    moved: Tensor = (attacked - clean).flatten(1).norm(dim=1)
    return moved / spread


def divergence(clean: Tensor, attacked: Tensor) -> Tensor:
    """kl (B,) of signals (B, L, D)."""
    p, q = F.log_softmax(clean, -1), F.log_softmax(attacked, -1)
    return (p.exp() * (p - q)).sum(-1).mean(1)


def ladder(model: Classifier, places: list[Site], x: Tensor, x_adv: Tensor) -> Ladder | None:
    """The error of x_adv against x, images (B, C, H, W), at every site; None if no image has one."""
    pairs = list(zip(signals(model, places, x), signals(model, places, x_adv), strict=True))
    rho = torch.stack([relative_error(*pair) for pair in pairs])  # (sites, B)
    moved = ((rho > 0) & rho.isfinite()).all(0)  # (B,)
    if not bool(moved.any()):
        return None
    typical = rho[:, moved].log().mean(1).exp().tolist()
    amplification = [None, *(after / before for before, after in pairwise(typical))]
    steps = []
    for place, value, factor, (clean, attacked) in zip(places, typical, amplification, pairs, strict=True):
        kl = float(divergence(clean[moved], attacked[moved]).mean())
        mse = float((attacked - clean)[moved].square().mean())
        steps.append(Step(place.component, place.layer, value, factor, kl, mse))
    return Ladder(steps, int(moved.sum()))


def total_amplification(found: Ladder) -> float:
    """That of all components together, the product of theirs."""
    return math.prod(step.amplification for step in found.steps if step.amplification is not None)


def loss_attack(model: Classifier, x: Tensor, y: Tensor, attack: Attack, generator: torch.Generator) -> Tensor:
    """Images in the ball that raise the cross-entropy of labels y: what judges robustness."""
    return pgd(model.freeze(), x, y, attack, generator)


def feature_attack(model: Classifier, x: Tensor, attack: Attack, generator: torch.Generator) -> Tensor:
    """Images in the ball that raise the error of the last layer's output, whatever becomes of the label.

    It starts at random even where the attack does not: at x itself the error has no slope.
    """
    frozen = model.freeze()
    with torch.no_grad():
        clean = trunk_output(frozen, x)
    start = Attack(attack.eps, attack.alpha, attack.steps, attack.norm, random_start=True)
    return pgd(features_of(frozen), x, clean, start, generator, loss=squared_error)


def features_of(frozen: torch.nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: trunk_output(frozen, x)


def squared_error(z: Tensor, clean: Tensor) -> Tensor:
    """The sum of |z - clean|^2 over images, each in units of its own |clean|^2, so that no image outweighs another."""
    return ((z - clean).square().flatten(1).sum(1) / clean.square().flatten(1).sum(1)).sum()
