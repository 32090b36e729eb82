"""Models on a simulated GPU: a tensor that is left on the CPU is found without a real GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ssmlab.nets import Classifier, selective
from ssmlab.nets.half_precision import HalfPrecisionClassifier
from ssmlab.nets.s4 import S4Kernel
from ssmlab.training.adversary import pgd_steps
from ssmlab.training.attack import Attack
from tests.fake_gpu import GPU, fake_gpu, on_fake_gpu
from tests.nets.tiny_models import CHANGES, tiny_model

SHAPES = [(1, 7, 7), (3, 18, 18)]  # short and long sequences take different routes


def make(name: str, shape: tuple[int, int, int]) -> Classifier:
    torch.manual_seed(0)
    return tiny_model(name, shape, layers=1)


@pytest.fixture(autouse=True)
def decisions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces decisions that depend on numbers, which a fake tensor does not have, or on the device's name."""
    monkeypatch.setattr("ssmlab.nets.dss.any_growing", lambda growing: False)
    monkeypatch.setitem(selective.CHUNK_ENTRIES, GPU, 2**20)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("form", ["live", "frozen", "frozen, bf16"])
@pytest.mark.parametrize("name", CHANGES)
def test_every_model_stays_on_the_gpu_from_images_to_logits_and_back(
    name: str, form: str, shape: tuple[int, int, int]
) -> None:
    live = on_fake_gpu(make(name, shape))
    with fake_gpu():
        model = live if form == "live" else live.freeze()  # type: ignore[operator]
        if form == "frozen, bf16":
            model = HalfPrecisionClassifier(model)
        assert all(each.device.type == GPU for each in [*model.parameters(), *model.buffers()])
        x = torch.empty(9, *shape, device=GPU, requires_grad=True)
        logits = model(x)
        assert (logits.device.type, logits.dtype, logits.shape) == (GPU, torch.float32, (9, 5))
        logits.sum().backward()
        assert x.grad is not None
        assert (x.grad.device.type, x.grad.dtype) == (GPU, torch.float32)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["s4", "mega"])
def test_an_attack_on_a_frozen_model_stays_on_the_gpu(name: str, norm: Any) -> None:
    live = on_fake_gpu(make(name, SHAPES[0]))
    with fake_gpu():
        x, y = torch.empty(4, *SHAPES[0], device=GPU), torch.empty(4, dtype=torch.int64, device=GPU)
        x_adv = pgd_steps(live.freeze(), x, y, Attack(0.1, 0.03, 2, norm), torch.Generator())  # type: ignore[operator]
        assert (x_adv.device.type, x_adv.shape) == (GPU, x.shape)


def test_a_tensor_left_on_the_cpu_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the tests above could not fail."""
    live = on_fake_gpu(make("s4", SHAPES[0]))
    monkeypatch.setattr(S4Kernel, "forward", lambda self, length: torch.zeros(len(self.log_dt), length))
    with fake_gpu(), pytest.raises(RuntimeError, match="same device"):
        live(torch.empty(2, *SHAPES[0], device=GPU))
