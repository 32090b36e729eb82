"""Runs all probes on one model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ssmlab.nets.classifier import Classifier, Residual
from ssmlab.nets.s5 import S5
from ssmlab.nets.ssm_block import LinearSsm, SsmBlock
from ssmlab.params import ModelParams, ProbeParams
from ssmlab.probes.bounds import can_be_bounded, certified_eps
from ssmlab.probes.gains import energy_gains, impulse_responses, peak_gains, tightness
from ssmlab.probes.ladder import feature_attack, ladder, loss_attack
from ssmlab.probes.linear import affine_map, exact_robust_accuracy, is_affine
from ssmlab.probes.perturbed_token import growth_of
from ssmlab.probes.results import Certificate, CheckpointProbes, ErrorLadder, LayerGains, SplitName
from ssmlab.probes.sites import Site, signals, sites
from ssmlab.training.attack import attack_from

ProbeImages = tuple[Tensor, Tensor]  # x (B, C, H, W) float32 in [0, 1] and labels y (B,), on the model's device
PARTS = 8  # parts of the work for one checkpoint and two splits; each is reported before it begins
QUARTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
PERCENTILES = 101


def probe_model(
    model: Classifier,
    params: ModelParams,
    images: Mapping[SplitName, ProbeImages],
    settings: ProbeParams,
    sha256: str,
    epoch: int | None,
    on_part: Callable[[str], None] = lambda _: None,
) -> CheckpointProbes:
    """Run all probes on one checkpoint. The model does not change.

    Equal arguments give equal results on one machine and device.

    Args:
        images: images and labels by split.
        sha256, epoch: identify the checkpoint in the result.
        on_part: called PARTS times, with the name of the next part of the work.
    """
    attack, places = attack_from(settings.adversary), sites(model, params)
    generator = torch.Generator().manual_seed(settings.seed)
    attacked, far = {}, {}
    for split, batch in images.items():
        on_part(f"attack on the {split} images")
        attacked[split] = loss_attack(model, *batch, attack, generator)
    for split, batch in images.items():
        on_part(f"attack on the features of the {split} images")
        far[split] = feature_attack(model, batch[0], attack, generator)
    on_part("errors through the layers")
    ladders = error_ladders(model, places, images, attacked, far)
    x, y = images["test"]
    robust = accuracy_on(model, attacked["test"], y)
    double = copy.deepcopy(model).double()
    on_part("gains")
    gains = layer_gains(double, sites(double, params), x, attacked["test"])
    on_part("bounds")
    exact = exact_robust_accuracy(affine_map(model), x.cpu(), y.cpu(), attack.eps) if is_affine(params) else None
    bounds = certificate(double, x, y, attack.eps, robust) if can_be_bounded(params) else None
    on_part("growth along the tokens")
    return CheckpointProbes(
        sha256=sha256,
        epoch=epoch,
        clean=accuracy_on(model, x, y),
        robust=robust,
        exact=exact,
        ladders=ladders,
        gains=tuple(gains),
        certificate=bounds,
        growth=tuple(growth_of(double.freeze(), x.double(), generator)),
    )


def error_ladders(
    model: Classifier,
    places: list[Site],
    images: Mapping[SplitName, ProbeImages],
    attacked: Mapping[SplitName, Tensor],
    far: Mapping[SplitName, Tensor],
) -> tuple[ErrorLadder, ...]:
    """The ladder of every split under the loss attack and under the feature attack, if the attack changed anything."""
    found: list[ErrorLadder | None] = []
    for split, (x, _) in images.items():
        found.append(ladder(model, places, x, attacked[split], "loss", split))
        found.append(ladder(model, places, x, far[split], "features", split))
    return tuple(each for each in found if each is not None)


@torch.no_grad()
def accuracy_on(model: Classifier, x: Tensor, y: Tensor) -> float:
    return float((model(x).argmax(1) == y).double().mean())


def layer_gains(model: Classifier, places: list[Site], x: Tensor, x_adv: Tensor) -> list[LayerGains]:
    """The gains of every layer with a linear, fixed SSM, and how close x_adv comes to them; the model is in float64."""
    found = []
    clean, attacked = signals(model, places, x.double()), signals(model, places, x_adv.double())
    for index, place in enumerate(places):
        if place.component != "mixer" or place.layer is None:
            continue
        ssm = ssm_of(model.layers[place.layer - 1])
        if ssm is None:
            continue
        taps = impulse_responses(ssm, model.length)
        energy = energy_gains(taps, model.length)
        ends = (clean[index - 1], attacked[index - 1], clean[index], attacked[index])
        ratios = tightness(taps, *(signal.permute(2, 0, 1) for signal in ends))  # (D, B)
        found.append(
            LayerGains(
                layer=place.layer,
                peak=rounded(peak_gains(taps, model.length).sum(1)),
                energy=None if energy is None else rounded(energy[0]),
                floor=None if energy is None else rounded(energy[1]),
                tightness=quartiles(ratios),
                ratios=percentiles(ratios),
            )
        )
    return found


def ssm_of(layer: nn.Module) -> LinearSsm | S5 | None:
    """The linear, fixed SSM of a layer; None if it has none."""
    block = layer.mixer if isinstance(layer, Residual) else None
    return block.ssm if isinstance(block, SsmBlock) and isinstance(block.ssm, LinearSsm | S5) else None


def certificate(model: Classifier, x: Tensor, y: Tensor, eps: float, robust: float) -> Certificate:
    """What the bounds certify, up to the adversary's eps; the model is in float64."""
    found = certified_eps(model, x.double(), y, eps)
    share = float((found >= eps).double().mean())
    middle = found.sort(descending=True).values[(len(found) - 1) // 2]
    return Certificate(
        eps=rounded(found), half=rounded(middle[None])[0], accuracy=share, vacuous=share == 0.0 and robust > 0.0
    )


def quartiles(ratios: Tensor) -> tuple[float, float, float, float, float] | None:
    """Smallest value, quartiles and largest value of the finite ratios; None if there are none."""
    finite = ratios[ratios.isfinite()]
    if not len(finite):
        return None
    low, first, middle, third, high = rounded(torch.quantile(finite, finite.new_tensor(QUARTILES)))
    return low, first, middle, third, high


def percentiles(ratios: Tensor) -> tuple[float, ...] | None:
    """The finite ratios in increasing order, or the percentiles 0 to 100 of many ratios; None if there are none."""
    finite = ratios[ratios.isfinite()]
    if len(finite) > PERCENTILES:
        finite = torch.quantile(finite, torch.linspace(0, 1, PERCENTILES, dtype=finite.dtype, device=finite.device))
    return rounded(finite.sort().values) or None


def rounded(values: Tensor) -> tuple[float, ...]:
    """Numbers rounded to six digits, which keeps the result file small."""
    return tuple(float(f"{value:.6g}") for value in values.tolist())
