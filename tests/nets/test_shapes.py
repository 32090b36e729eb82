"""Shapes are checked at every call in tests, and at none elsewhere."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from jaxtyping import TypeCheckError

from ssmlab.nets.longconv import by_fft, two_sided
from ssmlab.nets.s4d import S4dKernel


def test_in_tests_a_call_with_the_wrong_number_of_axes_fails() -> None:
    with pytest.raises(TypeCheckError, match="'u'"):
        by_fft(torch.randn(3, 5), torch.randn(3, 5))


def test_in_tests_a_letter_stands_for_one_number_within_a_call() -> None:
    with pytest.raises(TypeCheckError, match="'future'"):
        two_sided(torch.randn(3, 5), torch.randn(4, 5))


def test_in_tests_a_result_must_have_the_length_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = S4dKernel(3, 4, "zoh", "lin")
    assert kernel(5).shape == (3, 5)
    monkeypatch.setattr("ssmlab.nets.s4d.exponential_sums", lambda *_: [torch.zeros(3, 6)])
    with pytest.raises(TypeCheckError, match="return value"):
        kernel(5)


def test_outside_tests_no_call_is_checked() -> None:
    code = "from ssmlab.nets import longconv; print(hasattr(longconv.two_sided, '__wrapped__'))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
    assert hasattr(two_sided, "__wrapped__")
