"""The whole model: frozen equals live, causality, tokens, and state dicts, copies and dtypes that keep the function."""

from __future__ import annotations

import copy
import itertools
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ssmlab.nets import Classifier, build, ssm_parameters
from ssmlab.nets.ssm_block import LinearSsm
from ssmlab.nets.tokens import Tokens
from ssmlab.params import ModelParams
from ssmlab.training.adversary import pgd
from ssmlab.training.attack import Attack

BASE: dict[str, Any] = {
    "tokens": "raster", "patch": 2, "d_model": 6, "d_state": 4, "layers": 2, "pointwise": "none", "output": "linear",
    "dropout": 0.0,
}  # fmt: skip
MIXERS = {
    "s4": {},
    "s4d": {"s4d": {"discretisation": "zoh", "initial": "lin"}},
    "dss": {},
    "s5": {},
    "mamba": {},
    "mega": {"mega": {"z": 4, "hidden": 5, "ffn": 7, "ema": 3}},
}
OWN_MAPS = ("mamba", "mega")  # take neither `pointwise` nor `output`
CONVOLUTIONS = ("s4", "s4d", "dss")
ENHANCEMENTS = {
    "none": {},
    "attention": {},
    "ads-both": {"ads": {"act": "relu", "parts": "both"}},
    "ads-scale": {"ads": {"act": "sigmoid", "parts": "scale"}},
    "ads-bias": {"ads": {"act": "tanh", "parts": "bias"}},
}
WHOLE = [
    (mixer, enhancement, pointwise, output)
    for mixer, enhancement, pointwise, output in itertools.product(
        MIXERS, ENHANCEMENTS, ("none", "gelu"), ("linear", "glu")
    )
    if mixer not in OWN_MAPS or (pointwise, output) == ("none", "linear")
]


def model_params(mixer: str, enhancement: str = "none", **changes: Any) -> ModelParams:
    sections = {**MIXERS[mixer], **ENHANCEMENTS[enhancement]}
    return ModelParams.model_validate(
        BASE | {"mixer": mixer, "enhancement": enhancement.split("-")[0]} | sections | changes
    )


def make(mixer: str, enhancement: str = "none", shape: tuple[int, int, int] = (1, 6, 4), **changes: Any) -> Classifier:
    return build(model_params(mixer, enhancement, **changes), shape, 5, seed=1)


def logits_and_gradient(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    logits = model(x)
    return logits.detach(), torch.autograd.grad((logits * torch.arange(1.0, 6.0, dtype=x.dtype)).sum(), x)[0]


@pytest.mark.parametrize(("mixer", "enhancement", "pointwise", "output"), WHOLE)
def test_the_frozen_model_equals_the_live_one(mixer: str, enhancement: str, pointwise: str, output: str) -> None:
    model = make(mixer, enhancement, pointwise=pointwise, output=output)
    frozen = model.freeze()
    x = torch.rand(3, 1, 6, 4)
    for mine, live in zip(logits_and_gradient(frozen, x), logits_and_gradient(model, x), strict=True):
        torch.testing.assert_close(mine, live, rtol=1e-5, atol=1e-6)
    parameters = list(frozen.parameters())
    assert parameters
    assert not any(p.requires_grad for p in parameters)
    assert all(p.requires_grad for p in model.parameters())
    assert model.training


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(list(MIXERS)),
    st.sampled_from(list(ENHANCEMENTS)),
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    st.sampled_from([2, 4, 6]),
    st.integers(1, 3),
)
def test_images_of_any_shape_give_finite_logits(
    mixer: str, enhancement: str, shape: tuple[int, int, int], state: int, batch: int
) -> None:
    model = make(mixer, enhancement, shape, patch=1, d_state=state).double()
    x = torch.rand(batch, *shape, dtype=torch.float64)
    logits = model(x)
    assert logits.shape == (batch, 5)
    assert logits.isfinite().all()
    assert torch.equal(logits, model.trunk(model.stem(x)))
    torch.testing.assert_close(model.freeze()(x), logits)


@pytest.mark.parametrize("mixer", list(MIXERS))
def test_stem_gives_the_embedded_tokens(mixer: str) -> None:
    model = make(mixer)
    h = model.stem(torch.rand(3, 1, 6, 4))
    assert h.shape == (3, 6, 6)
    assert torch.equal(model.trunk(h), model.trunk(h))


@pytest.mark.parametrize("enhancement", ["none", "ads-both"])
@pytest.mark.parametrize("mixer", ["s4", "s4d", "dss", "s5", "mamba"])
def test_no_output_depends_on_a_later_token(mixer: str, enhancement: str) -> None:
    block = make(mixer, enhancement).double().layers[0]
    u = torch.randn(1, 6, 6, dtype=torch.float64)
    influence = torch.autograd.functional.jacobian(block, u)[0, :, :, 0].abs().sum((1, 3))  # (out token, in token)
    assert torch.equal(influence > 1e-12, torch.ones(6, 6).tril().bool())


@pytest.mark.parametrize("mixer", CONVOLUTIONS)
def test_a_bidirectional_layer_sees_every_token_and_is_its_two_halves(mixer: str) -> None:
    model = make(mixer, bidirectional=True).double()
    block = model.layers[0]
    u = torch.randn(1, 6, 6, dtype=torch.float64)
    assert (torch.autograd.functional.jacobian(block, u)[0, :, :, 0].abs().sum((1, 3)) > 0).all()
    ssm, h = block.mixer.ssm, u.permute(2, 0, 1)
    past, future = (LinearSsm(kernel, 6).double() for kernel in (ssm.kernel, ssm.backward_kernel))
    past.skip, future.skip = ssm.skip, nn.Parameter(torch.zeros(6, dtype=torch.float64))
    torch.testing.assert_close(ssm(h), past(h) + future(h.flip(-1)).flip(-1))
    x = torch.rand(2, 1, 6, 4, dtype=torch.float64)
    torch.testing.assert_close(model.freeze()(x), model(x))
    names = [name for name, _ in model.named_parameters() if "backward_kernel" in name]
    chosen = {id(p) for p in ssm_parameters(model)}
    assert {id(p) for name, p in model.named_parameters() if name in names and not name.endswith("C")} <= chosen


def test_the_published_block_is_affine_and_is_not_affine_with_ads() -> None:
    def bend(enhancement: str, **changes: Any) -> float:
        block = make("s4", enhancement, **changes).double().layers[0].mixer
        a, b = torch.randn(2, 1, 6, 6, dtype=torch.float64)
        return (block((a + b) / 2) - (block(a) + block(b)) / 2).norm().item()

    assert bend("none") < 1e-12
    assert bend("ads-both") > 1e-4
    assert bend("none", pointwise="gelu") > 1e-4
    assert bend("none", output="glu") > 1e-4


@pytest.mark.parametrize("mixer", list(MIXERS))
def test_a_loaded_copied_or_double_model_is_the_same_function(mixer: str) -> None:
    model = make(mixer, "ads-both")
    x = torch.rand(2, 1, 6, 4)
    expected = model(x)
    other = build(model_params(mixer, "ads-both"), (1, 6, 4), 5, seed=9)
    assert not torch.equal(other(x), expected)
    other.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(other(x), expected)
    assert torch.equal(copy.deepcopy(model)(x), expected)
    assert not any(t.is_complex() for t in model.state_dict().values())
    doubled = copy.deepcopy(model).double()
    torch.testing.assert_close(doubled(x.double()).float(), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(doubled.float()(x), expected)


@pytest.mark.parametrize("mixer", list(MIXERS))
def test_frozen_shares_weights_and_a_new_one_follows_the_parameters(mixer: str) -> None:
    model = make(mixer)
    x = torch.rand(2, 1, 6, 4)
    frozen = model.freeze()
    assert frozen.head.weight.data_ptr() == model.head.weight.data_ptr()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5)
    torch.testing.assert_close(model.freeze()(x), model(x), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(frozen(x), model(x), rtol=1e-5, atol=1e-6)


def test_dropout_acts_in_training_only_and_never_in_the_frozen_form() -> None:
    for mixer in MIXERS:
        model = make(mixer, dropout=0.5)
        x = torch.rand(2, 1, 6, 4)
        assert not torch.equal(model(x), model(x))
        frozen = model.freeze()(x)
        torch.testing.assert_close(model.eval()(x), frozen, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mixer", list(MIXERS))
def test_the_input_gradient_of_a_whole_model_agrees_with_finite_differences(mixer: str) -> None:
    model = make(mixer, "ads-scale", (1, 2, 2), patch=1, d_model=3).double()
    x = torch.rand(1, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model, (x,))


@pytest.mark.parametrize("mixer", list(MIXERS))
def test_bfloat16_autocast_stays_close(mixer: str) -> None:
    model = make(mixer)
    x = torch.rand(2, 1, 6, 4)
    expected = model(x)
    for form in (model, model.freeze()):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = form(x)
        torch.testing.assert_close(logits.float(), expected, rtol=0.1, atol=0.1)


def test_a_patch_is_read_row_by_row_and_pixel_by_pixel() -> None:
    x = torch.arange(2 * 4 * 6.0).view(1, 2, 4, 6)
    tokens = Tokens(2, "raster")(x)
    assert tokens.shape == (1, 6, 8)
    for token, (row, column) in enumerate(itertools.product(range(2), range(3))):
        patch = x[0, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        order = itertools.product(range(2), range(2), range(2))  # row, column, colour
        assert tokens[0, token].tolist() == [patch[c, i, j].item() for i, j, c in order]


def test_published_tokens_scramble_colours_and_agree_on_grey_images() -> None:
    colour = torch.arange(3 * 4.0).view(1, 3, 2, 2)
    assert Tokens(1, "published")(colour)[0, 0].tolist() == [0, 1, 2]
    assert Tokens(1, "raster")(colour)[0, 0].tolist() == [0, 4, 8]
    grey = torch.rand(2, 1, 3, 4)
    assert torch.equal(Tokens(1, "published")(grey), Tokens(1, "raster")(grey))


@pytest.mark.parametrize(
    ("order", "places"),
    [("column", [0, 3, 1, 4, 2, 5]), ("snake", [0, 1, 2, 5, 4, 3])],
)
def test_another_order_is_the_same_patches_at_other_places(
    order: Literal["column", "snake"], places: list[int]
) -> None:
    x = torch.rand(2, 3, 4, 6)
    assert torch.equal(Tokens(2, order)(x), Tokens(2, "raster")(x)[:, places])


def test_the_permuted_order_is_one_permutation_for_every_model_and_image() -> None:
    x = torch.arange(64.0).view(1, 1, 8, 8).expand(2, 1, 8, 8)
    tokens = Tokens(1, "permuted")(x)[..., 0]
    assert torch.equal(tokens[0].sort().values, torch.arange(64.0))
    assert not torch.equal(tokens[0], torch.arange(64.0))
    assert torch.equal(tokens[0], tokens[1])
    torch.manual_seed(5)
    assert torch.equal(Tokens(1, "permuted")(x)[..., 0], tokens)


def test_the_permutation_never_changes_because_checkpoints_depend_on_it() -> None:
    places = Tokens(1, "permuted").places(3, 4, torch.device("cpu")).tolist()
    assert places == [8, 0, 5, 9, 7, 4, 2, 10, 3, 1, 11, 6]


@pytest.mark.parametrize("mixer", MIXERS)
def test_no_images_give_no_logits(mixer: str) -> None:
    model = make(mixer)
    for form in (model, model.freeze()):
        assert form(torch.rand(0, 1, 6, 4)).shape == (0, 5)
    x = torch.rand(0, 1, 6, 4)
    assert pgd(model.freeze(), x, torch.zeros(0, dtype=torch.int64), Attack(0.1, 0.1, 2)).shape == x.shape
