"""Numbers of params.yaml that keep their text: fractions, decimals, and what is neither."""

from __future__ import annotations

import copy
import math
import pickle
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmlab.params import Params
from ssmlab.params.written_float import WrittenFloat
from ssmlab.project.params_file import parse_params
from tests.params.smoke import changed, problem


@pytest.mark.parametrize("text", ["1/0", "a/3", "8/", "/255", "1/2/3", "", "eps", "nan", "inf", "1e999", "-inf"])
def test_a_value_that_is_not_a_number_is_refused(text: str) -> None:
    assert " attack.eps: " in problem(("attack.eps", text))
    with pytest.raises(ValueError, match="number"):
        WrittenFloat(text)


@pytest.mark.parametrize("value", [True, None, [0.1], {}])
def test_a_value_that_is_neither_a_number_nor_a_fraction_is_refused(value: Any) -> None:
    assert " attack.eps: " in problem(("attack.eps", value))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 1000))
def test_a_fraction_is_its_quotient_and_keeps_its_text(a: int, b: int) -> None:
    written = WrittenFloat(f" {a}/{b} ")
    assert written == float(Fraction(a, b))
    assert str(written) == written.text == f"{a}/{b}"
    for twin in (pickle.loads(pickle.dumps(written)), copy.deepcopy(written)):
        assert (twin, twin.text) == (written, written.text)


@settings(deadline=None, max_examples=25)
@given(st.floats(0, 1e6))
def test_a_number_is_itself(value: float) -> None:
    assert WrittenFloat(value) == value
    assert math.sqrt(WrittenFloat(value)) == math.sqrt(value)


def test_a_fraction_is_written_back_as_it_was() -> None:
    params = parse_params(changed(("attack.eps", "8/255"), ("train.adversary.eps", "0.10")), "x")
    assert params.attack.eps == 8 / 255
    assert params.plain()["attack"]["eps"] == "8/255"
    assert params.runs["ssm"].train.plain()["adversary"]["eps"] == 0.1
    again = Params.model_validate(params.plain())
    assert again == params
    assert again.attack.eps.text == "8/255"


@pytest.mark.parametrize("text", ["\uff18/255", "\u0663", "8\u2044255"])
def test_digits_and_slashes_of_other_scripts_are_refused(text: str) -> None:
    """Python reads them, and a reader of the report may take them for something else."""
    with pytest.raises(ValueError, match="a number or a fraction such as 8/255 is needed"):
        WrittenFloat(text)


def test_spaces_in_an_eps_do_not_change_it() -> None:
    one, other = (parse_params(changed(("attack.eps", text)), "x") for text in ("8/255", " 8 / 255"))
    assert one == other
    assert one.fingerprint() == other.fingerprint()
