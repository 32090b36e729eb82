"""Builds a model from its parameters."""

from __future__ import annotations

import torch
from torch import nn

from ssmlab.core.errors import UserError
from ssmlab.core.lookup import named_object
from ssmlab.nets.classifier import Classifier
from ssmlab.nets.layer_parts import norm
from ssmlab.nets.mixer import Mixer
from ssmlab.nets.tokens import Tokens
from ssmlab.params import MIXERS, ModelParams


def build(params: ModelParams, image_shape: tuple[int, int, int], classes: int, seed: int) -> Classifier:
    """A newly initialised classifier for images of shape (C, H, W) = `image_shape`, float32 on the CPU.

    Equal arguments give equal parameters. The state of torch's global random generator does not change.

    Args:
        params: the section `model` of params.yaml.
        classes: number of classes.
        seed: seed of the initial parameters.

    Raises:
        UserError: the parameters do not fit the images or each other; the message names the key.
    """
    length = sequence_length(params, image_shape)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Classifier(
            Tokens(params.patch, params.tokens),
            image_shape,
            length,
            nn.Linear(image_shape[0] * params.patch**2, params.d_model),
            norm(params),
            [layer(params, length) for _ in range(params.layers)],
            nn.Linear(params.d_model, classes),
        )


def sequence_length(params: ModelParams, image_shape: tuple[int, int, int]) -> int:
    """L, the number of tokens of an image (C, H, W).

    Raises:
        UserError: the image cannot be cut into tokens.
    """
    _, height, width = image_shape
    if height % params.patch or width % params.patch:
        raise UserError(
            f"model.patch: {params.patch} does not divide the image size {height} x {width}; use a common divisor"
        )
    if params.tokens == "published" and params.patch != 1:
        raise UserError(
            f"model.tokens: published has no patches, but model.patch is {params.patch}; set model.patch: 1, or "
            "model.tokens: raster"
        )
    return (height // params.patch) * (width // params.patch)


def layer(params: ModelParams, length: int) -> Mixer:
    """One layer of the classifier's trunk for `length` tokens, as the table `ssmlab.params.MIXERS` says."""
    built: Mixer = named_object(f"ssmlab.nets.{MIXERS[params.mixer].where}")(params, length)
    return built
