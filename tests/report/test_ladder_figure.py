"""The change rates of errors by component, and the figure that shows them."""

from __future__ import annotations

from math import isnan, prod

import pytest

from ssmlab.analysis.summary import Summary
from ssmlab.probes.results import CheckpointProbes, ErrorLadder, LadderStep
from ssmlab.report.change_rates import COMPONENTS, change_rates, total_rates
from ssmlab.report.figure_style import LIGHT
from ssmlab.report.ladder_figure import component_ladder
from tests.report.test_figures import seeded, summary

__all__ = ["seeded", "summary"]  # fixtures

STEPS = (  # component, layer, rho, kl, mse
    ("embedding", None, 0.2, 0.01, 4.0),
    ("mixer", 1, 0.1, 0.04, 1.0),
    ("AdS", 1, 0.05, 0.02, 6.0),
    ("mixer", 2, 0.2, 0.06, 3.0),
    ("AdS", 2, 0.4, 0.06, 30.0),
)


def ladder_of(*steps: tuple[str, int | None, float, float, float]) -> ErrorLadder:
    made = tuple(
        LadderStep(component=name, layer=layer, rho=rho, kl=kl, mse=mse) for name, layer, rho, kl, mse in steps
    )
    return ErrorLadder(attack="loss", split="test", images=4, steps=made)


def test_the_change_rate_of_a_component_is_after_by_before_as_a_product_over_layers() -> None:
    ladder = ladder_of(*STEPS)
    assert change_rates(ladder, "AdS") == pytest.approx((0.5 * 2.0, 0.5 * 1.0, 6.0 * 10.0))
    assert change_rates(ladder, "mixer") == pytest.approx((0.5 * 4.0, 4.0 * 3.0, 0.25 * 0.5))
    assert change_rates(ladder, "attention") is None
    assert total_rates(ladder) == pytest.approx((2.0, 6.0, 7.5))


def test_the_change_rates_of_all_components_multiply_to_the_total() -> None:
    ladder = ladder_of(*STEPS)
    rates = [each for name in COMPONENTS if (each := change_rates(ladder, name))]
    for measure, total in enumerate(total_rates(ladder)):
        assert prod(each[measure] for each in rates) == pytest.approx(total)


def test_an_error_of_zero_before_has_no_change_rate() -> None:
    found = change_rates(ladder_of(("embedding", None, 0.2, 0.0, 1.0), ("mixer", 1, 0.2, 0.1, 2.0)), "mixer")
    assert found is not None and isnan(found.kl) and found.mse == 2.0


def test_the_figure_has_a_panel_a_measure_and_a_mark_a_component_and_run(summary: Summary) -> None:
    ladder = ladder_of(*STEPS)
    probed = CheckpointProbes(sha256="0", clean=1.0, robust=1.0, ladders=(ladder,), growth=())
    found = {run.name: probed for run in summary.runs[:2]}
    panels = component_ladder(summary, found, LIGHT).axes
    assert [axes.get_xlabel() for axes in panels] == [f"{m} after / {m} before" for m in ("rho", "KL", "MSE")]
    expected = change_rates(ladder, "mixer"), change_rates(ladder, "AdS"), total_rates(ladder)
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["mixer", "AdS", "all together"]
    for side, axes in enumerate(panels):
        marks = [line for line in axes.lines if line.get_marker() != "None"]
        assert len(marks) == 2
        for line in marks:
            assert list(line.get_ydata()) == [0, 1, 2]
            assert list(line.get_xdata()) == pytest.approx([each[side] for each in expected if each])
    assert all("follows scale" in axes.get_title() for axes in panels[1:])
