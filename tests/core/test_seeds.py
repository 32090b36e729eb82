"""Seeds: one per purpose, the same on every machine and in every version."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ssmlab.core.seeds import seed_of


def test_the_seeds_of_trainings_that_were_already_made_stay_what_they_were() -> None:
    """Known values: changing the hash would silently change every training."""
    assert seed_of(0, "order") == 2487206576870097544
    assert seed_of(7, "training attack") == 4442374597449434141


@given(st.integers(0, 2**63 - 1), st.text())
def test_a_seed_fits_in_63_bits(seed: int, purpose: str) -> None:
    assert 0 <= seed_of(seed, purpose) < 2**63


@given(st.tuples(st.integers(0, 99), st.text()), st.tuples(st.integers(0, 99), st.text()))
def test_seeds_are_equal_exactly_when_seed_and_purpose_are(one: tuple[int, str], other: tuple[int, str]) -> None:
    assert (seed_of(*one) == seed_of(*other)) == (one == other)
