"""A model, live or frozen, takes only images of the shape it was made for, and refuses others with a message."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ssmlab.core.errors import UserError
from ssmlab.nets import Classifier, build
from ssmlab.nets.longconv import FixedConvolution
from ssmlab.nets.mega import RelativeBias
from ssmlab.params import ModelParams

MIXERS: dict[str, dict[str, Any]] = {
    "s4": {},
    "s4d": {"s4d": {"discretisation": "zoh", "initial": "lin"}},
    "dss": {},
    "s5": {},
    "mamba": {},
    "mega": {"mega": {"z": 4, "hidden": 5, "ffn": 7, "ema": 3}},
}


def make(mixer: str, shape: tuple[int, int, int], patch: int = 1, tokens: str = "raster") -> Classifier:
    settings = {
        "mixer": mixer, "enhancement": "none", "tokens": tokens, "patch": patch, "d_model": 4, "d_state": 4,
        "layers": 1, "pointwise": "none", "output": "linear", "dropout": 0.0,
    }  # fmt: skip
    return build(ModelParams.model_validate(settings | MIXERS[mixer]), shape, 3, seed=0)


shapes = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))


@pytest.mark.parametrize("mixer", list(MIXERS))
@settings(deadline=None, max_examples=12)
@given(shapes, shapes, st.sampled_from([1, 2]), st.sampled_from(["raster", "published"]))
def test_live_and_frozen_models_refuse_every_other_shape_and_name_both(
    mixer: str, mine: tuple[int, int, int], other: tuple[int, int, int], patch: int, tokens: str
) -> None:
    patch = 1 if tokens == "published" else patch
    mine, other = ((c, h * patch, w * patch) for c, h, w in (mine, other))
    assume(mine != other)
    model = make(mixer, mine, patch, tokens)
    taken, given_shape = (" x ".join(map(str, shape)) for shape in (mine, other))
    for form in (model, model.freeze()):
        assert form(torch.rand(2, *mine)).shape == (2, 3)
        for call in (form, form.stem):
            with pytest.raises(UserError) as caught:
                call(torch.rand(2, *other))
            message = str(caught.value)
            assert f"takes images of shape {taken} " in message
            assert message.endswith(f"not {given_shape}")
            assert "\n" not in message


@pytest.mark.parametrize("mixer", list(MIXERS))
def test_as_many_pixels_in_another_shape_are_another_size(mixer: str) -> None:
    model = make(mixer, (1, 4, 6))
    with pytest.raises(UserError, match=r"1 x 4 x 6 .* not 1 x 6 x 4"):
        model(torch.rand(2, 1, 6, 4))


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3), st.booleans())
def test_a_fixed_convolution_takes_its_own_length_only(length: int, other: int, batch: int, causal: bool) -> None:
    assume(length != other)
    fixed = FixedConvolution(torch.randn(2, length if causal else 2 * length - 1), length)
    assert fixed(torch.randn(2, batch, length)).shape == (2, batch, length)
    with pytest.raises(ValueError, match=f"made for {length} tokens, not {other}"):
        fixed(torch.randn(2, batch, other))


def test_a_frozen_position_bias_takes_its_own_length_only() -> None:
    frozen = RelativeBias(5).freeze(3)
    assert frozen(3).shape == (3, 3)
    for other in (2, 5):
        with pytest.raises(ValueError, match=f"frozen for 3 tokens, not {other}"):
            frozen(other)
