"""The selective scan against its recurrence, and the layer against a plain loop over its equations."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ssmlab.nets import selective
from ssmlab.nets.mamba import MambaLayer, ShortConvolution
from ssmlab.nets.selective import selective_scan


def by_recurrence(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """y (L, B, Di) by stepping the state of each sequence, channel by channel."""
    state = torch.zeros(x.shape[1], *A.shape, dtype=x.dtype)  # (B, Di, N)
    y = []
    for t in range(len(x)):
        decay = torch.exp(dt[t][..., None] * A)
        state = decay * state + (dt[t] * x[t])[..., None] * B[t][:, None]
        y.append((state * C[t][:, None]).sum(-1))
    return torch.stack(y)


def random_inputs(length: int, batch: int, width: int, state: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    x, steps = torch.randn(2, length, batch, width, dtype=dtype)
    B, C = torch.randn(2, length, batch, state, dtype=dtype)
    return [t.requires_grad_() for t in (x, F.softplus(steps), -torch.rand(width, state, dtype=dtype) * 3, B, C)]


sizes = st.tuples(st.integers(1, 19), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5))


@settings(deadline=None, max_examples=25)
@given(sizes, st.sampled_from([0, 50, 2**18]), st.integers(0, 2**16))
def test_the_selective_scan_equals_its_recurrence(sizes: tuple[int, int, int, int], entries: int, seed: int) -> None:
    torch.manual_seed(seed)
    inputs = random_inputs(*sizes)
    expected = by_recurrence(*inputs)
    weight = torch.randn_like(expected)
    gradients = torch.autograd.grad((expected * weight).sum(), inputs, allow_unused=True, materialize_grads=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(selective.CHUNK_ENTRIES, "cpu", entries)
        patch.setattr(selective, "LEAST_TOKENS", 1)
        y = selective_scan(*inputs)
        torch.testing.assert_close(y, expected)
        for mine, plain in zip(torch.autograd.grad((y * weight).sum(), inputs), gradients, strict=True):
            torch.testing.assert_close(mine, plain)


@pytest.mark.parametrize("entries", [0, 40, 2**18])
def test_the_gradients_of_the_selective_scan_agree_with_finite_differences(
    monkeypatch: pytest.MonkeyPatch, entries: int
) -> None:
    torch.manual_seed(0)
    monkeypatch.setitem(selective.CHUNK_ENTRIES, "cpu", entries)
    monkeypatch.setattr(selective, "LEAST_TOKENS", 1)
    assert torch.autograd.gradcheck(selective_scan, random_inputs(7, 2, 3, 2))


def test_the_gradients_can_be_differentiated_again() -> None:
    """Jacobian regularisation does so."""
    torch.manual_seed(0)
    x, dt, A, B, C = random_inputs(5, 2, 3, 2)
    assert torch.autograd.gradgradcheck(selective_scan, (x, dt, A, B, C))
    assert torch.autograd.gradgradcheck(lambda x: selective_scan(x, dt.detach(), A.detach(), B, C), (x,))


def test_no_gradient_of_fixed_parameters_is_computed() -> None:
    x, dt, A, B, C = random_inputs(5, 1, 2, 3)
    y = selective_scan(x, dt, A.detach(), B, C)
    assert torch.autograd.grad(y.sum(), x)[0].shape == x.shape


def test_the_fused_kernels_of_mamba_ssm_give_the_same() -> None:
    fused = pytest.importorskip("mamba_ssm.ops.selective_scan_interface", reason="mamba-ssm is not installed")
    if not torch.cuda.is_available():
        pytest.skip("mamba-ssm's kernels need a GPU")
    torch.manual_seed(4)
    inputs = [t.detach().float().cuda().requires_grad_() for t in random_inputs(100, 2, 8, 4)]
    x, dt, A, B, C = inputs
    channel_first = [t.permute(1, 2, 0).contiguous() for t in (x, dt, B, C)]  # (B, Di or N, L)
    expected = fused.selective_scan_fn(channel_first[0], channel_first[1], A, channel_first[2], channel_first[3])
    y = selective_scan(*inputs)
    weight = torch.randn_like(y)
    torch.testing.assert_close(y, expected.permute(2, 0, 1), rtol=1e-3, atol=1e-4)
    wanted = torch.autograd.grad((expected.permute(2, 0, 1) * weight).sum(), inputs)
    for mine, theirs in zip(torch.autograd.grad((y * weight).sum(), inputs), wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dt", [1e-3, 1e-1, 50.0])
def test_long_sequences_are_right_in_float32(dt: float) -> None:
    torch.manual_seed(1)
    x, _, _, B, C = random_inputs(4096, 1, 2, 4, torch.float32)
    A = -torch.arange(1.0, 5.0).repeat(2, 1)
    inputs = [x, torch.full_like(x, dt).requires_grad_(), A, B, C]
    y = selective_scan(*inputs)
    exact = by_recurrence(*(t.detach().double() for t in inputs))
    assert ((y - exact).norm() / exact.norm()).item() < 1e-4
    gradients = torch.autograd.grad(y.square().mean(), [x, inputs[1], B, C])
    assert all(g.isfinite().all() for g in gradients)


def test_the_short_convolution_is_a_causal_depthwise_one() -> None:
    torch.manual_seed(2)
    convolution = ShortConvolution(3).double()
    x = torch.randn(7, 2, 3, dtype=torch.float64)
    padded = F.pad(x.permute(1, 2, 0), (3, 0))
    expected = F.conv1d(padded, convolution.weight, convolution.bias, groups=3)
    torch.testing.assert_close(convolution(x), expected.permute(2, 0, 1))


def test_the_layer_computes_its_equations() -> None:
    torch.manual_seed(3)
    layer = MambaLayer(3, 2, nn.Tanh(), 0.0).double()
    u = torch.randn(2, 5, 3, dtype=torch.float64)
    expected = torch.zeros_like(u)
    A = -layer.A_log.exp()
    for b in range(2):
        state = torch.zeros(6, 2, dtype=torch.float64)
        inner = u[b] @ layer.in_proj.weight.T
        for t in range(5):
            x = layer.conv1d.bias.clone()
            for back in range(min(t + 1, 4)):
                x = x + layer.conv1d.weight[:, 0, 3 - back] * inner[t - back, :6]
            x = F.silu(x)
            selected = layer.x_proj.weight @ x  # the step's rank 1, then B and C of two states each
            dt = F.softplus(layer.dt_proj.weight @ selected[:1] + layer.dt_proj.bias)
            state = torch.exp(dt[:, None] * A) * state + dt[:, None] * selected[1:3] * x[:, None]
            y = torch.tanh(state @ selected[3:] + layer.skip * x)
            expected[b, t] = layer.out_proj.weight @ (y * F.silu(inner[t, 6:]))
    torch.testing.assert_close(layer(u), expected)
    torch.testing.assert_close(layer.freeze(5)(u), expected)


def test_initial_steps_lie_in_their_range_and_a_counts_the_states() -> None:
    layer = MambaLayer(32, 4, nn.Identity(), 0.0)
    dt = F.softplus(layer.dt_proj.bias.detach())
    assert 1e-3 * 0.999 <= dt.min() < dt.max() <= 1e-1 * 1.001
    torch.testing.assert_close(-layer.A_log.exp().detach(), -torch.arange(1.0, 5.0).repeat(64, 1))
    assert layer.dt_proj.weight.shape == (64, 2)


def test_the_scan_is_float32_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def spy(*inputs: Tensor) -> Tensor:
        seen.extend(t.dtype for t in inputs)
        return selective_scan(*inputs)

    monkeypatch.setattr("ssmlab.nets.mamba.selective_scan", spy)
    layer = MambaLayer(4, 2, nn.Identity(), 0.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(torch.randn(1, 6, 4))
    assert seen == [torch.float32] * 5


def test_the_frozen_layer_holds_a_and_the_live_one_does_not() -> None:
    layer = MambaLayer(4, 2, nn.Identity(), 0.0)
    assert layer.A is None
    assert torch.equal(layer.freeze(3).A, layer.transition())
    assert "A" not in copy.deepcopy(layer).state_dict()
