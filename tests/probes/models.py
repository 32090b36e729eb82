"""Small models whose classes are about equally frequent, and images for them."""

from __future__ import annotations

import torch
from torch import Tensor

from ssmlab.nets import Classifier, build
from ssmlab.params import ModelParams

IMAGE = (1, 8, 8)  # with patches of 2 x 2: 16 tokens
BASE = {
    "mixer": "s4",
    "enhancement": "none",
    "tokens": "raster",
    "patch": 2,
    "d_model": 8,
    "d_state": 8,
    "layers": 2,
    "pointwise": "none",
    "output": "linear",
    "dropout": 0.0,
}


def params_of(**changes: object) -> ModelParams:
    return ModelParams.model_validate(BASE | changes)


def random_images(count: int) -> Tensor:
    """Images of which a third of the pixels are black or white, where the ball is cut."""
    return torch.rand(count, *IMAGE, generator=torch.Generator().manual_seed(0)).mul(1.5).sub(0.25).clamp(0, 1)


def model_of(classes: int = 5, **changes: object) -> Classifier:
    """A model whose classes are about equally frequent, with logits of size 1: larger ones saturate the softmax."""
    model = build(params_of(**changes), IMAGE, classes, seed=3).eval()
    with torch.no_grad():
        model.head.bias -= model(random_images(200)).mean(0)
        scale = model(random_images(200)).std()
        model.head.weight /= scale
        model.head.bias /= scale
    return model


def labelled_images(model: Classifier, count: int = 200) -> tuple[Tensor, Tensor]:
    """Random images with the labels that the model gives them."""
    x = random_images(count)
    with torch.no_grad():
        return x, model(x).argmax(1)
