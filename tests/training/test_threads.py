"""How many threads a training uses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ssmlab.params import Params, TrainParams
from ssmlab.training.threads import thread_count, using_threads

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("batch", "length", "width", "threads"),
    [
        (64, 49, 64, 1),  # the default study
        (32, 784, 128, 3),  # MNIST, pixel by pixel
        (64, 1024, 128, 8),  # CIFAR-10, pixel by pixel
        (1, 1, 1, 1),
    ],
)
def test_auto_takes_more_threads_for_larger_models(batch: int, length: int, width: int, threads: int) -> None:
    assert thread_count("auto", batch * length * width, CPU, available=8) == threads


@given(st.integers(1, 10**9), st.integers(1, 64))
def test_auto_never_takes_more_threads_than_there_are_and_at_least_one(activations: int, available: int) -> None:
    assert 1 <= thread_count("auto", activations, CPU, available) <= available


def test_a_given_number_is_taken_as_it_is_and_a_gpu_needs_one_thread() -> None:
    assert thread_count(5, 1, CPU, available=2) == 5
    assert thread_count("auto", 10**9, GPU, available=8) == 1


def test_the_number_of_threads_holds_inside_the_block_only() -> None:
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="stop"), using_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise RuntimeError("stop")
    assert torch.get_num_threads() == before


def test_params_take_auto_or_a_number_of_threads(tiny_params: Params) -> None:
    plain = tiny_params.run("ads").train.plain()
    assert TrainParams.model_validate(plain).threads == "auto"
    assert TrainParams.model_validate(plain | {"threads": 2}).threads == 2
    for wrong in (0, -1, 1.5, True, "two"):
        with pytest.raises(ValidationError, match="threads"):
            TrainParams.model_validate(plain | {"threads": wrong})
