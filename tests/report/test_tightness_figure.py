"""The violins of the tightness of bounds: what is a shape, what is points, and which are drawn of very many."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ssmlab.analysis.summary import Summary
from ssmlab.probes.results import CheckpointProbes, LayerGains
from ssmlab.report import tightness_figure
from ssmlab.report.figure_style import DARK, LIGHT
from ssmlab.report.probe_figures import Found
from ssmlab.report.tightness_figure import Violin, outline, tightness_violins, violins
from tests.report.test_crowded_figures import dark_and_darkened
from tests.report.test_figures import seeded, summary

__all__ = ["seeded", "summary"]  # fixtures


def gains(layer: int, values: NDArray[np.float64], old: bool = False) -> LayerGains:
    quartiles = tuple(np.quantile(values, (0, 0.25, 0.5, 0.75, 1)))
    ratios = None if old else tuple(np.sort(values))
    return LayerGains(layer=layer, peak=(1.0,), tightness=quartiles, ratios=ratios)


def probes_of(*layers: LayerGains) -> CheckpointProbes:
    return CheckpointProbes(sha256="0", clean=1.0, robust=1.0, ladders=(), gains=layers, growth=())


def some(count: int, centre: float) -> NDArray[np.float64]:
    return np.random.default_rng(0).beta(20 * centre, 20 * (1 - centre), count)


def probed_runs(summary: Summary, **options: bool) -> Found:
    """Every run with two layers, whose tightness is around 0.2 and 0.6."""
    layers = gains(1, some(101, 0.2), **options), gains(2, some(101, 0.6), **options)
    return {run.name: probes_of(*layers) for run in summary.runs}


def shapes(figure: Figure) -> list[PolyCollection]:
    return [each for each in figure.axes[0].collections if isinstance(each, PolyCollection)]


def test_the_median_of_a_violin_is_not_moved_by_its_largest_values() -> None:
    assert Violin(0, "ssm, layer 1", np.array([0.1, 0.2, 0.9]), is_shape=False).median == 0.2


def test_a_group_of_seeds_has_one_violin_a_layer_with_the_values_of_all_its_runs(seeded: Summary) -> None:
    found = probed_runs(seeded)
    drawn = violins(seeded, found)
    assert [each.name for each in drawn] == [f"{g.name}, layer {n}" for g in seeded.groups for n in (1, 2)]
    for each, group in zip(drawn[::2], seeded.groups, strict=True):
        assert len(each.values) == 101 * len(group.runs)
    figure = tightness_violins(seeded, found, LIGHT)
    assert len(shapes(figure)) == 2 * len(seeded.groups)


def test_a_violin_is_highest_where_most_values_are_and_ends_where_they_end(summary: Summary) -> None:
    found = probed_runs(summary)
    for place, (row, shape) in enumerate(
        zip(violins(summary, found), shapes(tightness_violins(summary, found, LIGHT)), strict=True)
    ):
        x, y = shape.get_paths()[0].vertices.T
        assert (x.min(), x.max()) == pytest.approx((row.values[0], row.values[-1]))
        assert np.abs(y - place).max() == pytest.approx(0.42)
        peak = x[np.abs(y - place).argmax()]
        counts, edges = np.histogram(row.values, 5)
        assert edges[counts.argmax()] - 0.05 <= peak <= edges[counts.argmax() + 1] + 0.05


def test_the_outline_is_the_density_of_a_normal_sample() -> None:
    quantiles = (np.arange(4000) + 0.5) / 4000
    values = np.sqrt(-2 * np.log(quantiles[:2000]))  # Rayleigh's distribution, whose highest density is at 1
    height = outline(values, np.linspace(values.min(), values.max(), 60))
    assert height.max() == pytest.approx(0.42)
    assert height[0] < 0.42 and height[-1] < 0.05


@pytest.mark.parametrize("case", ["few", "equal", "old"])
def test_few_or_equal_values_and_those_of_older_files_are_points(summary: Summary, case: str) -> None:
    layers = {
        "few": gains(1, some(6, 0.3)),
        "equal": gains(1, np.full(30, 0.25)),
        "old": gains(1, some(101, 0.3), old=True),
    }
    run = summary.runs[0].name
    figure = tightness_violins(summary, {run: probes_of(layers[case])}, LIGHT)
    assert not shapes(figure)
    (points,) = figure.axes[0].lines
    assert len(points.get_xdata()) == {"few": 6, "equal": 30, "old": 5}[case]


def test_the_circle_is_the_median_and_the_bar_the_quartiles(summary: Summary) -> None:
    found = probed_runs(summary)
    axes = tightness_violins(summary, found, LIGHT).axes[0]
    (circles,) = (each for each in axes.collections if isinstance(each, PathCollection))
    (bars,) = (each for each in axes.collections if isinstance(each, LineCollection))
    for place, row in enumerate(violins(summary, found)):
        first, middle, third = np.quantile(row.values, (0.25, 0.5, 0.75))
        assert tuple(circles.get_offsets()[place]) == pytest.approx((middle, place))
        assert list(bars.get_segments()[place][:, 0]) == pytest.approx([first, third])


def test_of_very_many_the_highest_the_lowest_and_some_between_are_drawn(
    summary: Summary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tightness_figure, "MOST", 4)
    found = {
        run.name: probes_of(*(gains(layer, some(101, (3 * place + layer) / 20)) for layer in (1, 2, 3)))
        for place, run in enumerate(summary.runs[:3])
    }
    figure = tightness_violins(summary, found, LIGHT)
    assert len(shapes(figure)) == 4
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names[0] == f"{summary.groups[2].name}, layer 3" and names[-1] == f"{summary.groups[0].name}, layer 1"
    assert "4 of 9 layers, in the order of their medians" in figure.axes[0].get_xlabel()


def test_the_dark_figure_is_the_light_one_in_other_colours(summary: Summary) -> None:
    found = probed_runs(summary)
    drawn, made = dark_and_darkened(partial(tightness_violins, summary, found), DARK)
    assert made == drawn
