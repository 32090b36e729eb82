"""Small models, images and quick attacks for the tests of evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ssmlab.evaluation.evaluate import evaluate_models
from ssmlab.evaluation.results import Evaluation
from ssmlab.params import AttackSpec, AutoAttackParams, FgsmParams, PgdParams
from ssmlab.params.written_float import WrittenFloat

EVERYTHING: dict[str, Any] = {"images": "all", "checkpoints": ("best",)}
CPU = torch.device("cpu")


def small_net(seed: int = 0) -> nn.Sequential:
    """A model that is not linear, of 8 x 8 images, and is not robust."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(144, 5))
    for parameter in model.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator)
    return model


QUICK: Mapping[str, AttackSpec] = {
    "fgsm": FgsmParams(kind="fgsm", **EVERYTHING),
    "pgd": PgdParams(
        kind="pgd", alpha=WrittenFloat(0.01), steps=5, random_start=True, images=14, checkpoints=("best",)
    ),
    "aa": AutoAttackParams(kind="autoattack", steps=5, queries=30, images=10, checkpoints=("best",)),
}


def material(seed: int = 5) -> tuple[nn.Sequential, Tensor, Tensor]:
    """A model, 20 images, and labels most of which it gives them."""
    model, generator = small_net(), torch.Generator().manual_seed(seed)
    x = torch.rand(20, 1, 8, 8, generator=generator)
    y = model(x).argmax(dim=1)
    y[::7] = (y[::7] + 1) % 5
    return model, x, y


def evaluate_two(workers: int | None, names: list[str], on_event: Any = lambda event: None) -> dict[str, Evaluation]:
    """Two models under `QUICK`, its attacks in the order of `names`."""
    model, x, y = material()
    attacks = {name: QUICK[name] for name in names}
    return evaluate_models(
        {"a": model, "b": small_net(1)},
        x,
        y,
        {"a": attacks, "b": {"fgsm": QUICK["fgsm"]}},
        WrittenFloat(0.02),
        batch_size=3,
        seed=11,
        device=CPU,
        workers=workers,
        on_event=on_event,
    )
