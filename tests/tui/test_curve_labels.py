"""The labels beside a log axis."""

from __future__ import annotations

import math

import pytest

from ssmlab.tui.widgets.axis_labels import LogFormatter, PercentFormatter


@pytest.mark.parametrize(
    ("low", "high"), [(9.6e-5, 0.01), (1e-6, 0.02), (3e-4, 4e-4), (0.2, 30.0), (1e-9, 1e3), (2.3012, 2.3034)]
)
def test_labels_of_a_log_axis_differ_and_fit_beside_it(low: float, high: float) -> None:
    formatter = LogFormatter()
    ticks = formatter.get_ticks(math.log10(low), math.log10(high))
    labels = formatter.get_labels_for_ticks(ticks)
    assert len(set(labels)) == len(labels)
    assert all(len(label) <= 5 for label in labels)
    assert labels and [float(label) for label in labels] == pytest.approx([10**tick for tick in ticks])


@pytest.mark.parametrize(("low", "high"), [(1.55, 2.32), (0.2, 30.0), (2.3012, 2.3034), (1e-4, 5e-3)])
@pytest.mark.parametrize("rows", [6, 30])
def test_a_log_axis_has_labels_enough_to_be_read_and_about_one_in_two_rows_at_most(
    low: float, high: float, rows: int
) -> None:
    formatter = LogFormatter()
    formatter.rows = rows
    assert 1 < len(formatter.get_ticks(math.log10(low), math.log10(high))) <= rows // 2 + 1


def test_a_low_plot_of_accuracies_has_a_label_at_0_at_50_and_at_100_percent() -> None:
    formatter = PercentFormatter()
    assert formatter.get_ticks(0.0, 100.0) == [0, 20, 40, 60, 80, 100]
    formatter.rows = 5
    assert formatter.get_ticks(0.0, 100.0) == [0, 50, 100]
