"""The progress meter with a clock that the tests control."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmlab.core.events import Event, Progress
from ssmlab.core.progress import ProgressMeter


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_the_time_left_follows_from_the_mean_speed(clock: FakeClock) -> None:
    meter = ProgressMeter(10, clock=clock)
    clock.now += 4
    meter.advance(2)
    assert (meter.rate, meter.eta) == (0.5, 16)
    clock.now += 6
    assert meter.eta == 40  # nothing more was done meanwhile, so the mean speed fell
    meter.advance_to(10)
    assert (meter.done, meter.rate, meter.eta) == (10, 1, 0)


def test_work_that_was_done_earlier_does_not_count_towards_the_speed(clock: FakeClock) -> None:
    meter = ProgressMeter(100, done=40, clock=clock)
    meter.skip(20)
    assert (meter.done, meter.rate, meter.eta) == (60, None, None)
    clock.now += 5
    meter.advance(10)
    assert (meter.rate, meter.eta) == (2, 15)


def test_the_speed_can_be_measured_from_the_first_work_done(clock: FakeClock) -> None:
    """30 seconds in which worker processes start do not spoil the estimate."""
    meter = ProgressMeter(100, from_first_step=True, clock=clock)
    clock.now += 30
    meter.advance_to(0)
    assert meter.eta is None
    meter.advance_to(10)
    assert meter.eta is None
    clock.now += 3
    meter.advance_to(40)
    assert (meter.rate, meter.eta) == (10, 6)


def test_a_guess_serves_until_the_speed_is_known(clock: FakeClock) -> None:
    meter = ProgressMeter(10, expected_seconds=60, clock=clock)
    clock.now += 20
    assert meter.eta == 40
    clock.now += 50
    assert meter.eta == 0  # later than guessed, but no negative time
    meter.advance(5)
    assert meter.eta == 70


def test_a_corrected_total_corrects_the_time_left(clock: FakeClock) -> None:
    meter = ProgressMeter(0, clock=clock)
    meter.total = 20
    clock.now += 1
    meter.advance(5)
    assert meter.eta == 3


def test_a_meter_without_work_is_done_from_the_start(clock: FakeClock) -> None:
    assert ProgressMeter(0, clock=clock).eta == 0


def test_reports_keep_their_distance_and_the_last_one_always_comes(clock: FakeClock) -> None:
    heard: list[Event] = []
    meter = ProgressMeter(30, clock=clock)
    for _ in range(30):
        clock.now += 0.1
        meter.advance()
        meter.report(heard.append, "reading", every=1.0, images=True)
    meter.report(heard.append, "reading", every=1.0)
    done = [event.done for event in heard if isinstance(event, Progress)]
    assert done in ([1, 11, 21, 30], [1, 12, 23, 30])  # 0.1 is not a sum of powers of two
    last = heard[-1]
    assert isinstance(last, Progress)
    assert (last.task, last.total, last.clean, last.eta) == ("reading", 30, None, 0)
    assert last.images_per_second == pytest.approx(10)


def test_a_heartbeat_is_due_although_nothing_changed(clock: FakeClock) -> None:
    meter = ProgressMeter(10, clock=clock)
    assert meter.is_due(1)
    clock.now += 1
    assert not meter.is_due(1)
    assert meter.is_due(1, even_without_change=True)
    assert not meter.is_due(1, even_without_change=True)


@given(st.lists(st.tuples(st.floats(0.001, 100), st.integers(1, 100)), min_size=1, max_size=20), st.integers(0, 1000))
def test_at_constant_speed_the_estimate_is_exact_and_it_is_never_negative(
    steps: list[tuple[float, int]], before: int
) -> None:
    """Work of 3 units a second, in pieces of any length, wherever it began."""
    clock = FakeClock()
    total = before + sum(amount for _, amount in steps)
    meter = ProgressMeter(total, done=before, clock=clock)
    for _, amount in steps:
        clock.now += amount / 3
        meter.advance(amount)
        assert meter.eta == pytest.approx((total - meter.done) / 3, abs=1e-6)
        assert meter.eta is not None and meter.eta >= 0
