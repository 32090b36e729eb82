"""The benchmark for GPUs, small and on a CPU: all parts give numbers, a standing model follows the weights."""

from __future__ import annotations

import pytest
import torch

from benchmarks.bench_gpu import MIXERS, StandingAttack, model_params, run, training_steps
from ssmlab.nets import build


@pytest.mark.slow
def test_every_part_gives_numbers_and_says_what_it_left_out() -> None:
    result = run(torch.device("cpu"), seconds=60, small=True)
    assert {(row["mixer"], row["precision"]) for row in result["steps"] if row["form"] == "eager"} == {
        (mixer, precision) for mixer in MIXERS for precision in ("fp32", "tf32", "bf16")
    }
    assert all(row["ms"] > 0 and row["epoch_seconds"] > 0 for row in result["epoch"])
    assert result["autoattack"]["images"] == 8
    left_out = [text for text in result["left_out"] if "graphed" in text]
    assert len(left_out) == 3 * len(MIXERS) + 1


@pytest.mark.parametrize("name", MIXERS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_frozen_model_with_overwritten_tensors_equals_a_newly_frozen_one(name: str, precision: str) -> None:
    model, x = build(model_params(name, small=True), (3, 6, 6), 10, seed=0), torch.rand(2, 3, 6, 6)
    attack = StandingAttack(model, precision, torch.zeros(2, dtype=torch.int64))
    before = attack.standing(x)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    attack.overwrite()
    assert not torch.equal(attack.standing(x), before)
    assert torch.equal(attack.standing(x), StandingAttack(model, precision, attack.y).standing(x))


def test_a_step_of_the_benchmark_trains_the_model() -> None:
    model, x = build(model_params("s4", small=True), (3, 6, 6), 10, seed=0), torch.rand(2, 3, 6, 6)
    before = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    next(training_steps("eager", "fp32", model, x, torch.tensor([1, 2]), torch.Generator().manual_seed(0)))
    assert not torch.equal(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]), before)
