"""The numbers behind the report's curves: means of epochs, best epochs, and means over seeds by radius."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from ssmlab.analysis.seeds import Spread
from ssmlab.analysis.summarize import summarize
from ssmlab.analysis.summary import Summary
from ssmlab.evaluation.results import Measure
from ssmlab.params import Params
from ssmlab.project.params_file import load_params
from ssmlab.report.accuracy_figures import draw_arms
from ssmlab.report.curve_figures import best_epochs, groups_with_eps_curves
from ssmlab.report.figure_style import LIGHT, Mark
from ssmlab.report.training_curves import curve_points
from tests.analysis.synthetic import data_summary, seeded_params, seeded_study


@pytest.fixture(scope="module")
def params() -> Params:
    raw = load_params(Path(__file__).resolve().parents[2] / "studies" / "mnist5k-published.yaml").plain()
    raw["attack"]["attacks"]["fmn"] = {"kind": "fmn", "steps": 10, "images": 4, "checkpoints": ["best"]}
    return seeded_params(Params.model_validate(raw))


@pytest.fixture(scope="module")
def summary(params: Params) -> Summary:
    """The run number i of the study breaks i of 4 images at a distance below 0.05, and the others nowhere."""
    found = []
    for place, result in enumerate(seeded_study(params, 40)):
        broken = place % 3
        distances = (0.04,) * broken + (None,) * (4 - broken)
        fmn = Measure.of("0" * broken + "1" * (4 - broken), distances=distances)
        best = result.checkpoints["best"].model_copy(update={"epoch": 2 + place})
        best = best.model_copy(update={"measures": {**best.measures, "fmn": fmn}})
        found.append(result.model_copy(update={"checkpoints": {"best": best}}))
    return summarize(params.study, found, params.analyze, data_summary())


def test_a_point_of_a_long_curve_is_the_mean_of_its_epochs_and_the_last_may_have_fewer() -> None:
    points = curve_points(np.array([0.1, 0.3, 0.5, 0.7, 0.8]), 2)
    assert points.tolist() == [pytest.approx(each) for each in ([1.5, 0.2], [3.5, 0.6], [5.0, 0.8])]


def test_the_mark_of_a_run_stands_at_its_best_epoch_on_its_own_curve(summary: Summary) -> None:
    curves = {run.name: np.linspace(0.1, 0.5, 14) + 0.01 * place for place, run in enumerate(summary.runs)}
    marks = best_epochs(summary, curves)
    assert len(marks) == len(summary.runs) == 12
    for mark, (place, run) in zip(marks, enumerate(summary.runs), strict=True):
        assert (summary.groups[mark.group].runs[place % 3], mark.x) == (run.name, 2 + place)
        assert mark.y == curves[run.name][mark.x - 1]  # the first epoch is number 1
    shorter = {run: curve[:5] for run, curve in curves.items()}
    assert [mark.x for mark in best_epochs(summary, shorter)] == [2, 3, 4, 5]


def test_the_curve_of_a_group_is_the_mean_over_its_seeds_at_every_radius(summary: Summary) -> None:
    found = groups_with_eps_curves(summary)
    assert [group.name for _, group, _ in found] == [group.name for group in summary.groups]
    for _, _, curve in found:
        for radius, accuracy in curve:  # 0, 1 and 2 of 4 images are broken at 0.04
            assert accuracy == pytest.approx(1.0 if radius < 0.04 else 0.75)


def test_a_mark_has_an_arm_of_one_standard_deviation_on_each_side() -> None:
    axes = Figure().subplots()
    draw_arms(axes, [(Mark(0, 1000.0, 5.0), Spread(mean=0.05, std=0.02, n=3))], LIGHT)
    (arms,) = axes.collections
    assert isinstance(arms, LineCollection)
    assert [segment.tolist() for segment in arms.get_segments()] == [[[1000.0, 3.0], [1000.0, 7.0]]]
