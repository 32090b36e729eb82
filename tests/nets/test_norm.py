"""`norm: none`: the models that it gives, and that nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from ssmlab.nets import Classifier, build
from ssmlab.params import ModelParams

BASE: dict[str, Any] = {
    "enhancement": "none", "tokens": "raster", "patch": 2, "d_model": 6, "d_state": 4, "layers": 2,
    "pointwise": "none", "output": "linear", "dropout": 0.0,
}  # fmt: skip
LINEAR = {"s4": {}, "s4d": {"s4d": {"discretisation": "zoh", "initial": "lin"}}, "dss": {}, "s5": {}}
SHAPE = (3, 6, 4)


def model_params(mixer: str, **changes: Any) -> ModelParams:
    return ModelParams.model_validate(BASE | {"mixer": mixer} | LINEAR.get(mixer, {}) | changes)


def make(mixer: str, **changes: Any) -> Classifier:
    return build(model_params(mixer, **changes), SHAPE, 5, seed=1).double().eval()


@torch.no_grad()
def bend(model: nn.Module) -> float:
    """How far the logits of a mix of two images are from the mix of their logits; 0 if the model is affine."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 4, *SHAPE, dtype=torch.float64, generator=generator)
    share = torch.rand(4, 1, 1, 1, dtype=torch.float64, generator=generator)
    mixed = model(share * a + (1 - share) * b)
    straight = share[:, 0, 0] * model(a) + (1 - share[:, 0, 0]) * model(b)
    return float((mixed - straight).abs().max() / mixed.abs().max())


@pytest.mark.parametrize("mixer", list(LINEAR))
def test_without_norm_a_linear_mixer_makes_a_model_that_is_affine_in_the_image(mixer: str) -> None:
    model = make(mixer, norm="none")
    for form in (model, model.freeze()):
        assert bend(form) < 1e-12


@pytest.mark.parametrize("mixer", list(LINEAR))
def test_an_affine_model_is_its_gradient_and_its_value_at_zero(mixer: str) -> None:
    model = make(mixer, norm="none")
    x = torch.rand(4, *SHAPE, dtype=torch.float64)
    black = torch.zeros(1, *SHAPE, dtype=torch.float64)
    slope = torch.autograd.functional.jacobian(lambda image: model(image)[0], black)[:, 0]  # (classes, C, H, W)
    assert isinstance(slope, Tensor)
    torch.testing.assert_close(model(x), model(black) + x.flatten(1) @ slope.flatten(1).T)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"norm": "none", "pointwise": "gelu"},
        {"norm": "none", "output": "glu"},
        {"norm": "none", "enhancement": "ads", "ads": {"act": "relu", "parts": "both"}},
        {"norm": "none", "enhancement": "attention"},
    ],
)
def test_norm_and_every_nonlinearity_make_the_model_not_affine(changes: dict[str, Any]) -> None:
    assert bend(make("s4", **changes)) > 1e-5


@pytest.mark.parametrize("mixer", [*LINEAR, "mamba"])
def test_a_seed_gives_equal_weights_with_and_without_norm(mixer: str) -> None:
    with_norm, without = make(mixer).state_dict(), make(mixer, norm="none").state_dict()
    gone = {name for name in with_norm if name not in without}
    assert gone == {
        f"{place}.{kind}" for place in ("norm", "layers.0.norm", "layers.1.norm") for kind in ("weight", "bias")
    }
    assert all(torch.equal(without[name], with_norm[name]) for name in without)


def test_layer_is_the_default_and_leaves_no_trace_in_the_fingerprint() -> None:
    plain = model_params("s4")
    assert model_params("s4", norm="layer") == plain
    assert "norm" not in plain.plain()
    assert ModelParams.model_validate(model_params("s4", norm="none").plain()).norm == "none"
    assert model_params("s4", norm="none").fingerprint() != plain.fingerprint()


def test_other_norms_and_mega_without_norm_are_refused() -> None:
    with pytest.raises(ValidationError, match="norm"):
        model_params("s4", norm="batch")
    with pytest.raises(ValidationError, match="`norm` none is not for mega"):
        model_params("mega", mega={"z": 4, "hidden": 4, "ffn": 4, "ema": 2}, norm="none")
