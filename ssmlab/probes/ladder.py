"""Measures an error after every component of a model.

z, z' (B, L, D): the signal at a site for clean and for attacked images. There are three measures of the error:

    rho = |z' - z| / |z - mean of z over tokens|        scale-free: relative to the differences between tokens
    mse = mean of (z' - z)^2                            grows with the square of the signal's scale
    kl  = mean over tokens of KL(softmax(z) || softmax(z')), softmax over channels
                                                        grows with the signal's scale too, in another way

(|.| is the Euclidean norm over tokens and channels of one image.) A component's amplification is rho after it divided
by rho before it. The rho of a site is the geometric mean over images, so the product of the amplifications of
successive components is the amplification of all of them: a ladder. Multiplying all features by 6 does not change rho,
multiplies mse by 36, and changes kl, so mse and kl must not be read alone.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from ssmlab.nets.classifier import Classifier
from ssmlab.probes.results import Aim, ErrorLadder, LadderStep, SplitName
from ssmlab.probes.sites import Site, signals, trunk_output
from ssmlab.training.adversary import pgd_steps
from ssmlab.training.attack import Attack


def relative_error(clean: Tensor, attacked: Tensor) -> Tensor:
    """rho (B,) for signals (B, L, D); not finite if all tokens are equal."""
    spread: Tensor = (clean - clean.mean(1, keepdim=True)).flatten(1).norm(dim=1)
    moved: Tensor = (attacked - clean).flatten(1).norm(dim=1)
    return moved / spread


def layer_divergence(clean: Tensor, attacked: Tensor) -> Tensor:
    """kl (B,) for signals (B, L, D)."""
    p, q = F.log_softmax(clean, -1), F.log_softmax(attacked, -1)
    return (p.exp() * (p - q)).sum(-1).mean(1)


def ladder(
    model: Classifier,
    places: list[Site],
    x: Tensor,
    x_adv: Tensor,
    attack: Aim,
    split: SplitName,
) -> ErrorLadder | None:
    """The error of x_adv relative to x, both images (B, C, H, W), at every site.

    Args:
        attack, split: the origin of the images, for the result.

    Returns:
        None if x_adv equals x for every image.
    """
    pairs = list(zip(signals(model, places, x), signals(model, places, x_adv), strict=True))
    rho = torch.stack([relative_error(*pair) for pair in pairs])  # (sites, B)
    moved = ((rho > 0) & rho.isfinite()).all(0)  # (B,)
    if not bool(moved.any()):
        return None
    typical = rho[:, moved].log().mean(1).exp().tolist()
    amplifications = [None, *(after / before for before, after in pairwise(typical))]
    steps = [
        LadderStep(
            component=place.component,
            layer=place.layer,
            rho=value,
            amplification=factor,
            kl=float(layer_divergence(clean[moved], attacked[moved]).mean()),
            mse=float((attacked - clean)[moved].square().mean()),
        )
        for place, value, factor, (clean, attacked) in zip(places, typical, amplifications, pairs, strict=True)
    ]
    return ErrorLadder(attack=attack, split=split, images=int(moved.sum()), steps=tuple(steps))


def loss_attack(model: Classifier, x: Tensor, y: Tensor, attack: Attack, generator: torch.Generator) -> Tensor:
    """Images (B, C, H, W) in the ball that increase the cross entropy of labels y (B,), as in an evaluation."""
    return pgd_steps(model.freeze(), x, y, attack, generator)


def feature_attack(model: Classifier, x: Tensor, attack: Attack, generator: torch.Generator) -> Tensor:
    """Images (B, C, H, W) in the ball that increase the error of the last layer's output, without regard to labels.

    The start is always random, because the gradient of the error is zero at x itself.
    """
    frozen = model.freeze()
    with torch.no_grad():
        clean = trunk_output(frozen, x)
    start = Attack(attack.eps, attack.alpha, attack.steps, attack.norm, random_start=True)
    return pgd_steps(partial(trunk_output, frozen), x, clean, start, generator, loss=squared_error)


def squared_error(z: Tensor, clean: Tensor) -> Tensor:
    """The sum over images of |z - clean|^2 / |clean|^2, so that all images have equal weight."""
    return ((z - clean).square().flatten(1).sum(1) / clean.square().flatten(1).sum(1)).sum()
