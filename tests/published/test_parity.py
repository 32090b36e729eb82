"""Against vectors computed with the published implementation: logits, kernels and input gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from ssmlab.core.errors import UserError
from ssmlab.nets import Classifier, build
from ssmlab.published.model_sizes import published_params
from ssmlab.published.state_dict import published_to_ours

CASES = [
    *(f"{mixer}_{channels}ch" for mixer in ("s4", "dss", "s5", "mamba", "mega") for channels in (1, 3)),
    *(f"s4_ads_{act}_1ch" for act in ("relu", "sgmd", "tanh")),
    *(f"dss_ads_{act}_3ch" for act in ("relu", "sgmd", "tanh")),
]
ACTS = {"relu": "relu", "sgmd": "sigmoid", "tanh": "tanh"}


def load_case(folder: Path, case: str) -> tuple[Classifier, dict[str, Tensor], dict[str, Tensor]]:
    tensors = load_file(folder / "parity" / f"{case}.safetensors")
    state = {name.removeprefix("param."): value for name, value in tensors.items() if name.startswith("param.")}
    act = next((ours for theirs, ours in ACTS.items() if theirs in case), None)
    model = build(published_params(state, act), tuple(tensors["x"].shape[1:]), 10, seed=0)
    model.load_state_dict(published_to_ours(state), strict=True)
    return model, tensors, state


def relative(ours: Tensor, theirs: Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.mark.parametrize("form", ["live", "frozen"])
@pytest.mark.parametrize("case", CASES)
def test_logits_loss_and_gradient_agree_with_the_published_code(shared: Path, case: str, form: str) -> None:
    model, tensors, _ = load_case(shared, case)
    f = model if form == "live" else model.freeze()
    x = tensors["x"].clone().requires_grad_()
    logits = f(x)
    loss = F.cross_entropy(logits, tensors["y"])
    (gradient,) = torch.autograd.grad(loss, x)
    assert relative(logits, tensors["logits"]) < 1e-5
    assert relative(gradient, tensors["grad_x"]) < 2e-5
    assert loss.item() == pytest.approx(tensors["loss"].item(), rel=1e-5)


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith(("s4", "dss"))])
def test_kernels_agree_with_the_published_code(shared: Path, case: str) -> None:
    model, tensors, _ = load_case(shared, case)
    for i, layer in enumerate(model.layers):
        theirs = tensors[f"kernel.{i}"][0]
        assert relative(layer.mixer.ssm.kernel(theirs.shape[-1]), theirs) < 2e-5


@pytest.mark.parametrize("case", CASES)
def test_every_trainable_number_has_its_counterpart(shared: Path, case: str) -> None:
    model, _, state = load_case(shared, case)
    trained = [tensor for name, tensor in state.items() if not name.endswith(("kernel.L", "log_w_real"))]
    real_numbers = sum(tensor.numel() * (2 if tensor.is_complex() else 1) for tensor in trained)
    assert sum(p.numel() for p in model.parameters()) == real_numbers


def test_growing_modes_of_s5_are_refused_and_not_turned_round(shared: Path) -> None:
    _, _, state = load_case(shared, "s5_1ch")
    state["mapping_layers.1.seq.Lambda"][3] += 2 * state["mapping_layers.1.seq.Lambda"][3].real.abs()
    with pytest.raises(UserError, match=r"layers\.1\.seq\.Lambda: 1 of its modes grow"):
        published_to_ours(state)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError, match=r"mapping_layers\.0\.nonsense"):
        published_to_ours({"mapping_layers.0.nonsense": torch.zeros(1)})
    with pytest.raises(UserError, match="not a state dict"):
        published_params({"weight": torch.zeros(1)}, None)
