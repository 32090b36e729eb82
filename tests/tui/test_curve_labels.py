"""The labels beside a log axis."""

from __future__ import annotations

import math

import pytest

from ssmlab.tui.widgets.curve_plot import LogFormatter


@pytest.mark.parametrize(("low", "high"), [(9.6e-5, 0.01), (1e-6, 0.02), (3e-4, 4e-4), (0.2, 30.0), (1e-9, 1e3)])
def test_labels_of_a_log_axis_differ_and_fit_beside_it(low: float, high: float) -> None:
    formatter = LogFormatter()
    ticks = formatter.get_ticks(math.log10(low), math.log10(high))
    labels = formatter.get_labels_for_ticks(ticks)
    assert len(set(labels)) == len(labels)
    assert all(len(label) <= 5 for label in labels)
    assert [float(label) for label in labels] == pytest.approx([10**tick for tick in ticks])
