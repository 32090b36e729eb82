"""Frozen models in bfloat16 are close to float32, and values that must not be rounded stay in float32."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssmlab.nets import Classifier
from ssmlab.nets.chunked import ChunkedConvolution, Realisation
from ssmlab.nets.half_precision import HalfPrecisionClassifier, in_half_precision
from ssmlab.nets.tokens import Tokens
from tests.nets.tiny_models import CHANGES, tiny_model

SHAPES = {49: (1, 7, 7), 324: (1, 18, 18)}  # by L: the Toeplitz product, and chunks


def make(name: str, length: int = 49) -> Classifier:
    return tiny_model(name, SHAPES[length], layers=2, seed=1)


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), y), x)[0]


@pytest.mark.parametrize("length", SHAPES)
@pytest.mark.parametrize("name", CHANGES)
def test_logits_and_slopes_are_those_of_float32_up_to_rounding(name: str, length: int) -> None:
    frozen = make(name, length).freeze()
    half = HalfPrecisionClassifier(frozen)  # type: ignore[arg-type]
    x, y = torch.rand(8, *SHAPES[length]), torch.arange(8) % 5
    logits, expected = half(x), frozen(x)
    assert logits.dtype == torch.float32
    assert (logits - expected).norm() < 0.03 * expected.norm()
    mine, slopes = gradient(half, x, y), gradient(frozen, x, y)
    assert mine.dtype == torch.float32
    assert (mine - slopes).norm() < 0.1 * slopes.norm()


@pytest.mark.parametrize("name", CHANGES)
def test_the_frozen_model_and_its_weights_stay_in_float32(name: str) -> None:
    model = make(name, 324)
    frozen = model.freeze()
    before = {key: value.clone() for key, value in [*frozen.named_parameters(), *frozen.named_buffers()]}
    HalfPrecisionClassifier(frozen)  # type: ignore[arg-type]
    after = dict([*frozen.named_parameters(), *frozen.named_buffers()])
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert value.dtype == after[key].dtype
        assert torch.equal(value, after[key])


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("s4", {"head", "past"}),
        ("s5", {"decay"}),
        ("mamba", {"A", "A_log", "skip", "dt_proj"}),
        ("mega", {"matrix", "past", "future"}),
    ],
)
def test_states_step_sizes_and_biases_of_positions_are_not_rounded(name: str, kept: set[str]) -> None:
    half = HalfPrecisionClassifier(make(name, 324).freeze())  # type: ignore[arg-type]
    tensors = [*half.named_parameters(), *half.named_buffers()]
    wide = {part for key, value in tensors if value.dtype != torch.bfloat16 for part in key.split(".")}
    assert kept <= wide
    rounded = {key for key, value in tensors if value.dtype == torch.bfloat16}
    assert rounded
    assert not any(part in kept for key in rounded for part in key.split("."))


def test_a_state_of_many_tokens_is_summed_in_float32() -> None:
    """A sum of 324 equal numbers in bfloat16 would stop growing at 256 times each."""
    ones = torch.ones(1, 1, 1, dtype=torch.float64)
    sums = in_half_precision(ChunkedConvolution(torch.zeros(1), 4096, 2, Realisation(A=ones, B=ones[0], C=ones[0])))
    y = sums(torch.ones(1, 1, 4096, dtype=torch.bfloat16))
    torch.testing.assert_close(y[0, 0].float(), torch.arange(1.0, 4097.0), rtol=2**-7, atol=0)


def test_the_mean_over_tokens_is_in_float32() -> None:
    """In bfloat16 the sum of 325 ones would be 324."""
    embed, head = nn.Linear(1, 1), nn.Linear(1, 1, bias=False)
    nn.init.zeros_(embed.weight)
    nn.init.ones_(embed.bias)
    nn.init.ones_(head.weight)
    model = Classifier(Tokens(1, "raster"), (1, 5, 65), 325, embed, nn.Identity(), [], head)
    assert HalfPrecisionClassifier(model)(torch.rand(1, 1, 5, 65)).item() == 1.0
