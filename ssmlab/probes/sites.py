"""The sites in a model at which signals are recorded: after every component, in the order of the forward pass.

Forward hooks record the signals, so the models need no code for it. Every site returns (B, L, D), for any memory order
inside a layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ssmlab.nets.classifier import Classifier, Residual
from ssmlab.nets.mamba import MambaLayer
from ssmlab.nets.mega import MegaLayer
from ssmlab.nets.ssm_block import SsmBlock
from ssmlab.params import ModelParams

Order = Literal["batch", "channel", "token", "flat"]  # (B, L, D), (D, B, L), (L, B, D), (B L, D)


class Site(NamedTuple):
    """One site: the input or output of `module`.

    Attributes:
        component: the component that the signal has just passed ("mixer").
        layer: number of the layer, from 1; None outside the layers.
        order: the memory order of the signal.
    """

    component: str
    layer: int | None
    module: nn.Module
    side: Literal["input", "output"]
    order: Order


def sites(model: Classifier, params: ModelParams) -> list[Site]:
    """All sites of a model with these parameters: tokens, embedding, norm, then the sites of each layer."""
    found = [
        Site("tokens", None, model.tokens, "output", "batch"),
        Site("embedding", None, model.embed, "output", "batch"),
        *norm_site(model.norm, None),
    ]
    for number, layer in enumerate(model.layers, start=1):
        found += layer_sites(layer, params, number)
    return found


def layer_sites(layer: nn.Module, params: ModelParams, number: int) -> Iterator[Site]:
    """The sites of one layer; the last site is the layer's output."""
    if isinstance(layer, MegaLayer):
        attention, feed_forward = layer.attention, layer.feed_forward
        yield Site("mixer", number, attention.ema, "output", "channel")
        yield Site("pointwise", number, attention.enhancement, "input", "channel")
        yield from enhancement_site(attention.enhancement, params, number)
        yield Site("gated attention", number, attention.norm, "input", "flat")
        yield Site("norm", number, attention.norm, "output", "flat")
        yield Site("feed-forward", number, feed_forward.norm, "input", "batch")
        yield Site("norm", number, feed_forward.norm, "output", "batch")
        return
    if not isinstance(layer, Residual):
        yield Site("mixer", number, layer, "output", "batch")
        return
    block = layer.mixer
    if isinstance(block, MambaLayer):
        yield Site("convolution", number, block.conv1d, "output", "token")
        yield Site("mixer", number, block.enhancement, "input", "channel")
        yield from enhancement_site(block.enhancement, params, number)
        yield Site("gate", number, block.out_proj, "input", "token")
        yield Site("output", number, block.out_proj, "output", "token")
    elif isinstance(block, SsmBlock):
        yield Site("mixer", number, block.ssm, "output", "channel")
        if params.pointwise != "none":
            yield Site("pointwise", number, block.enhancement, "input", "channel")
        yield from enhancement_site(block.enhancement, params, number)
        if isinstance(block.output, nn.Linear):
            yield Site("output", number, block.dropout, "input", "flat")
    else:
        yield Site("mixer", number, block, "output", "batch")
    yield Site("residual", number, layer.norm, "input", "batch")
    yield from norm_site(layer.norm, number)


def norm_site(norm: nn.Module, number: int | None) -> Iterator[Site]:
    if not isinstance(norm, nn.Identity):
        yield Site("norm", number, norm, "output", "batch")


def enhancement_site(enhancement: nn.Module, params: ModelParams, number: int) -> Iterator[Site]:
    if params.enhancement != "none":
        yield Site("AdS" if params.enhancement == "ads" else "attention", number, enhancement, "output", "channel")


@torch.no_grad()
def signals(model: Classifier, places: list[Site], x: Tensor) -> list[Tensor]:
    """The signal at each site, (B, L, D) float64, for images x (B, C, H, W); hooks are removed at the end."""
    passed: dict[int, Tensor] = {}

    def keep(index: int, value: Tensor) -> None:
        passed[index] = batch_first(value, places[index].order, len(x)).double()

    with ExitStack() as hooks:
        for index, site in enumerate(places):

            def hook(module: nn.Module, taken: Any, given: Any, index: int = index, side: str = site.side) -> None:  # noqa: ARG001
                keep(index, taken[0] if side == "input" else given)

            hooks.callback(site.module.register_forward_hook(hook).remove)
        model(x)
    return [passed[index] for index in range(len(places))]


def batch_first(value: Tensor, order: Order, batch: int) -> Tensor:
    """A signal in any of the memory orders, as (B, L, D)."""
    if order == "channel":
        return value.permute(1, 2, 0)
    if order == "token":
        return value.transpose(0, 1)
    if order == "flat":
        return value.view(batch, -1, value.shape[-1])
    return value


def trunk_output(model: nn.Module, x: Tensor) -> Tensor:
    """The last layer's output (B, L, D), which the head averages, for a model or its frozen form."""
    h: Tensor = model.norm(model.stem(x))  # type: ignore[operator]
    for layer in model.layers:  # type: ignore[union-attr]
        h = layer(h)
    return h
